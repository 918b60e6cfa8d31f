// Serves TVM RPC on a board: clients upload compiled models and run them here.
//
//   ./rpc_server [--host ADDRESS] [--port N] [--key-file FILE] [--folder DIR]
//
// Prints "listening on ADDRESS:PORT" once it does; port 0 takes a free one. Each client is served by a process of its
// own, so one that crashes takes nobody else along. Uploaded files stay in DIR for later clients. A client can run
// code here: off loopback it refuses to start without a key, which clients must then show. It encrypts nothing.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/string.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

namespace ffi = tvm::ffi;

constexpr int32_t kMagic = 0xff271, kWrongKey = kMagic + 2;  // TVM's handshake
constexpr int32_t kLongestKey = 4096;
constexpr time_t kHandshakeS = 5;

struct Settings {
  std::string host = "127.0.0.1", port = "0", key, folder;
};

[[noreturn]] void Refuse(const std::string& why) { throw std::runtime_error(why); }
[[noreturn]] void System(const std::string& what) { Refuse(what + ": " + std::strerror(errno)); }

bool Receive(int client, void* data, size_t size) {
  return recv(client, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

bool Send(int client, const std::string& bytes) {
  return send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

std::string Word(int32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

bool SameKey(const std::string& have, const std::string& want) {
  unsigned char differ = have.size() != want.size();
  for (size_t at = 0; at < have.size() && at < want.size(); ++at) differ |= have[at] ^ want[at];
  return !differ;  // in a time that tells nothing of where they differ
}

// The client says its magic number and "client:KEY OPTIONS..."; we answer with ours and "server:".
bool Handshake(int client, const std::string& key) {
  int32_t magic = 0, length = 0;
  if (!Receive(client, &magic, sizeof magic) || magic != kMagic) return false;
  if (!Receive(client, &length, sizeof length) || length < 0 || length > kLongestKey) return false;
  std::string said(length, '\0');
  if (!Receive(client, said.data(), said.size())) return false;
  if (!SameKey(said.substr(0, said.find(' ')), "client:" + key)) {
    Send(client, Word(kWrongKey));
    return false;
  }
  const std::string name = "server:";
  return Send(client, Word(kMagic) + Word(static_cast<int32_t>(name.size())) + name);
}

void Register(const std::string& folder) {
  auto path = [folder](const std::string& name) {
    if (name.find('/') != std::string::npos || name[0] == '.') Refuse("a file's name, not a path: " + name);
    return folder + "/" + name;
  };
  auto set = [](const char* name, ffi::Function function) { ffi::Function::SetGlobal(name, function, true); };
  set("tvm.rpc.server.workpath", ffi::Function::FromTyped([path](std::string name) { return path(name); }));
  set("tvm.rpc.server.load_module", ffi::Function::FromTyped([path](std::string name) {
        return ffi::Module::LoadFromFile(path(name));
      }));
  // A model is uploaded under another name, then renamed: what bears the name is whole.
  set("isthmus.holds", ffi::Function::FromTyped([path](std::string name) {
        struct stat found;
        return stat(path(name).c_str(), &found) == 0;
      }));
  set("isthmus.rename", ffi::Function::FromTyped([path](std::string from, std::string to) {
        if (rename(path(from).c_str(), path(to).c_str())) System("cannot keep " + to);
      }));
}

void Serve(int client, const Settings& settings) {
  struct timeval patience = {kHandshakeS, 0}, endless = {0, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!Handshake(client, settings.key)) return;
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &endless, sizeof endless);
  int on = 1;  // no waiting for more to send, and notice of a client whose machine is gone
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  Register(settings.folder);
  ffi::Function::GetGlobalRequired("rpc.ServerLoop")(client);
}

int Listen(const Settings& settings) {
  addrinfo wanted = {}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  if (int code = getaddrinfo(settings.host.c_str(), settings.port.c_str(), &wanted, &found))
    Refuse(settings.host + ":" + settings.port + ": " + gai_strerror(code));
  int door = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool open = door >= 0 && bind(door, found->ai_addr, found->ai_addrlen) == 0 && listen(door, 16) == 0;
  freeaddrinfo(found);
  if (!open) System("cannot listen on " + settings.host + ":" + settings.port);
  sockaddr_storage name = {};
  socklen_t size = sizeof name;
  getsockname(door, reinterpret_cast<sockaddr*>(&name), &size);
  char port[NI_MAXSERV];
  getnameinfo(reinterpret_cast<sockaddr*>(&name), size, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
  std::cout << "listening on " << settings.host << ":" << port << std::endl;
  return door;
}

Settings Parse(int argc, char** argv) {
  Settings settings;
  for (int at = 1; at < argc; at += 2) {
    std::string word = argv[at];
    if (at + 1 == argc) Refuse(word + " takes a value");
    if (word == "--host") settings.host = argv[at + 1];
    else if (word == "--port") settings.port = argv[at + 1];
    else if (word == "--folder") settings.folder = argv[at + 1];
    else if (word == "--key-file") {
      std::ifstream file(argv[at + 1]);
      if (!(file >> settings.key)) Refuse(std::string(argv[at + 1]) + " holds no key");
    } else Refuse("unknown option " + word + "; there are --host, --port, --key-file, --folder");
  }
  bool loopback = settings.host.rfind("127.", 0) == 0 || settings.host == "::1";
  if (!loopback && settings.key.empty()) Refuse("off loopback a key is required: --key-file FILE");
  return settings;
}

int main(int argc, char** argv) {
  try {
    Settings settings = Parse(argc, argv);
    char fresh[] = "/tmp/isthmus-rpc-XXXXXX";
    if (settings.folder.empty()) settings.folder = mkdtemp(fresh) ? fresh : "";
    if (settings.folder.empty()) System("cannot make a folder for uploads");
    signal(SIGCHLD, SIG_IGN);  // nobody waits for the processes that serve
    int door = Listen(settings);
    for (;;) {
      int client = accept(door, nullptr, nullptr);
      if (client < 0) continue;  // it went away before it was served
      pid_t parent = getpid(), child = fork();
      if (child == 0) {
        close(door);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) Serve(client, settings);
        _exit(0);
      }
      close(client);
    }
  } catch (const std::exception& error) {
    std::cerr << "rpc_server: " << error.what() << std::endl;
    return 1;
  }
}
