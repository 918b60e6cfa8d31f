"""tritonclient under mutual TLS, unmodified: python foreign_tls.py GRPC HTTP FOLDER, a folder with ca, cert and key."""

import ssl
import sys
from pathlib import Path

import gevent.ssl
import numpy as np
import tritonclient.grpc
import tritonclient.http

FLOATS = np.arange(4, dtype=np.float32).reshape(2, 2)


def main(grpc: str, http: str, folder: Path) -> None:
    ca, cert, key = (str(folder / f"{name}.pem") for name in ("ca", "cert", "key"))
    over_grpc = tritonclient.grpc.InferenceServerClient(
        grpc, ssl=True, root_certificates=ca, private_key=key, certificate_chain=cert
    )

    def context() -> ssl.SSLContext:
        made = gevent.ssl.create_default_context(cafile=ca)
        made.load_cert_chain(cert, key)
        return made

    over_http = tritonclient.http.InferenceServerClient(http, ssl=True, ssl_context_factory=context)
    for library, client in ((tritonclient.grpc, over_grpc), (tritonclient.http, over_http)):
        assert client.is_server_live()
        tensor = library.InferInput("x", list(FLOATS.shape), "FP32")
        tensor.set_data_from_numpy(FLOATS)
        assert np.array_equal(client.infer("float32", [tensor]).as_numpy("y"), FLOATS)
        client.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
