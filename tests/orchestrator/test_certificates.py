"""A test CA: what is made, what is kept, and what is refused."""

import ipaddress
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nodes.tls import identity_in
from orchestrator.certificates import Wanted, certify, wanted_of
from orchestrator.errors import ClusterError, SpecError

x509 = pytest.importorskip("cryptography.x509")
NOW = datetime.now(UTC)


def made(folder: Path, *words: str, renew: bool = False) -> list[Path]:
    return certify(folder, [wanted_of(word) for word in words], days=30, now=NOW, renew=renew)


def test_each_node_gets_a_folder_that_serves(tmp_path: Path) -> None:
    for place in made(tmp_path / "pki", "edge=10.0.0.2,edge.lan", "camera"):
        identity_in(place)
        assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pki/ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    assert not (tmp_path / "pki/edge/ca.key").exists()


def test_a_certificate_names_where_its_node_is_dialled(tmp_path: Path) -> None:
    (place,) = made(tmp_path, "edge=10.0.0.2,edge.lan,fd00::2")
    certificate = x509.load_pem_x509_certificate((place / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["edge", "edge.lan", "localhost"]
    addresses = ("10.0.0.2", "fd00::2", "127.0.0.1", "::1")
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(one) for one in addresses]
    assert 29 <= (certificate.not_valid_after_utc - NOW).days <= 30


def test_more_nodes_come_under_the_ca_that_is_there(tmp_path: Path) -> None:
    made(tmp_path, "edge")
    before = (tmp_path / "ca.pem").read_bytes()
    (place,) = made(tmp_path, "camera")
    assert (tmp_path / "ca.pem").read_bytes() == before == (place / "ca.pem").read_bytes()
    identity_in(tmp_path / "edge")


def test_what_is_there_is_kept_unless_it_is_to_be_renewed(tmp_path: Path) -> None:
    made(tmp_path, "edge")
    before = (tmp_path / "edge/key.pem").read_bytes()
    with pytest.raises(SpecError, match="edge is there; keep it, or give --renew"):
        made(tmp_path, "camera", "edge")
    assert not (tmp_path / "camera").exists()
    assert (tmp_path / "edge/key.pem").read_bytes() == before
    made(tmp_path, "edge", renew=True)
    assert (tmp_path / "edge/key.pem").read_bytes() != before
    identity_in(tmp_path / "edge")


@pytest.mark.parametrize("word", ["10.0.0.1", "", "a/b", "..", "edge=10.0.0.1/8", "edge=*", "=10.0.0.1"])
def test_what_is_no_node_is_refused(word: str) -> None:
    with pytest.raises(SpecError, match="NAME="):
        wanted_of(word)


def test_a_ca_that_is_not_whole_is_not_replaced(tmp_path: Path) -> None:
    made(tmp_path, "edge")
    (tmp_path / "ca.key").unlink()
    with pytest.raises(SpecError, match=r"ca.key: No such file or directory; give a new folder"):
        made(tmp_path, "camera")
    (tmp_path / "ca.key").write_text("nonsense")
    with pytest.raises(SpecError, match="are no CA made here"):
        made(tmp_path, "camera")


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ClusterError, match=r"pip install 'isthmus\[security\]'"):
        certify(tmp_path / "pki", [Wanted(name="a")], days=1, now=NOW)
    assert not (tmp_path / "pki").exists()
