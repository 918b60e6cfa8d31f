// Runs one compiled model on a board that has neither Python nor a compiler.
//
//   ./runner FOLDER [--out DIR] [--repeat N] [--threads N] NAME=FILE...
//
// FOLDER holds lib.so and tensors.txt, whose lines are "input|output DTYPE RANK DIMS... NAME" in the order of the
// model's function. FILE is a .npy, or raw little-endian bytes. Outputs go to DIR/NAME.npy. Prints one line of JSON.
// It refuses a file that does not fit what the model takes; it converts nothing.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/dtype.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;
using Clock = std::chrono::steady_clock;

struct Spec {
  std::string name, dtype;
  std::vector<int64_t> shape;
};

struct AlignedMemory {
  void AllocData(DLTensor* tensor) {
    size_t nbytes = ffi::GetDataSize(*tensor);
    tensor->data = std::aligned_alloc(64, std::max<size_t>(64, (nbytes + 63) / 64 * 64));
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

[[noreturn]] void Refuse(const std::string& why) { throw std::runtime_error(why); }

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Refuse(path + ": " + std::strerror(errno));
  return {std::istreambuf_iterator<char>(file), {}};
}

void ReadSpecs(const std::string& path, std::vector<Spec>* inputs, std::vector<Spec>* outputs) {
  std::istringstream lines(Read(path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string side;
    size_t rank = 0;
    Spec spec;
    words >> side >> spec.dtype >> rank;
    spec.shape.resize(rank);
    for (int64_t& dim : spec.shape) words >> dim;
    words.get();  // the one space before the name, which may hold spaces itself
    if (!words || !std::getline(words, spec.name)) Refuse(path + ": not understood: " + line);
    (side == "input" ? inputs : outputs)->push_back(spec);
  }
}

// numpy's letter and width, such as <f4.
std::string Descr(DLDataType dtype) {
  const char* kind = dtype.code == kDLInt ? "i" : dtype.code == kDLUInt ? "u" : dtype.code == kDLBool ? "b" : "f";
  return std::string(dtype.bits == 8 ? "|" : "<") + kind + std::to_string(dtype.bits / 8);
}

std::string Header(DLDataType dtype, const std::vector<int64_t>& shape) {
  std::string text = "{'descr': '" + Descr(dtype) + "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : shape) text += std::to_string(dim) + ", ";
  if (!shape.empty()) text.resize(text.size() - (shape.size() > 1 ? 2 : 1));  // (2, 3) and (2,), as numpy writes them
  return text + "), }";
}

void Fill(const Spec& spec, const std::string& path, ffi::Tensor tensor) {
  std::string bytes = Read(path);
  size_t start = 0;
  if (bytes.compare(0, 6, "\x93NUMPY") == 0 && bytes.size() > 12) {
    bool wide = bytes[6] > 1;  // format 2.0 counts its header in four bytes
    uint32_t length = static_cast<uint8_t>(bytes[8]) | static_cast<uint8_t>(bytes[9]) << 8;
    if (wide) length |= static_cast<uint8_t>(bytes[10]) << 16 | static_cast<uint8_t>(bytes[11]) << 24;
    start = (wide ? 12 : 10) + length;
    std::string header = bytes.substr(wide ? 12 : 10, length);
    std::string want = Header(tensor.dtype(), spec.shape);
    if (header.compare(0, want.size(), want) != 0) Refuse(path + " holds " + header + "must be " + want);
  }
  size_t nbytes = ffi::GetDataSize(*tensor.GetDLTensorPtr());
  if (bytes.size() < start || bytes.size() - start != nbytes)
    Refuse(path + " has " + std::to_string(bytes.size() - std::min(start, bytes.size())) + " bytes of data, " +
           spec.name + " takes " + std::to_string(nbytes));
  std::memcpy(tensor.data_ptr(), bytes.data() + start, nbytes);
}

void Save(const std::string& path, const ffi::Tensor& tensor) {
  ffi::ShapeView dims = tensor.shape();
  std::string header = Header(tensor.dtype(), {dims.begin(), dims.end()});
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(static_cast<char>(header.size() & 255)).put(static_cast<char>(header.size() >> 8));
  file << header;
  file.write(static_cast<const char*>(tensor.data_ptr()), ffi::GetDataSize(*tensor.GetDLTensorPtr()));
  if (!file.flush()) Refuse("cannot write " + path);
}

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

struct Command {
  std::string folder, out;
  int repeat = 1;
  std::map<std::string, std::string> files;
};

Command Parse(int argc, char** argv) {
  Command command;
  for (int at = 1; at < argc; ++at) {
    std::string word = argv[at];
    if (word.rfind("--", 0) == 0) {
      if (++at == argc) Refuse(word + " takes a value");
      if (word == "--out") command.out = argv[at];
      else if (word == "--repeat") command.repeat = std::max(1, std::atoi(argv[at]));
      else if (word == "--threads") setenv("TVM_NUM_THREADS", argv[at], 1);  // read when the runtime first runs
      else Refuse("unknown option " + word + "; there are --out, --repeat, --threads");
    } else if (command.folder.empty()) {
      command.folder = word;
    } else {
      size_t split = word.rfind('=');
      if (split == std::string::npos) Refuse("not NAME=FILE: " + word);
      command.files[word.substr(0, split)] = word.substr(split + 1);
    }
  }
  if (command.folder.empty()) Refuse("usage: runner FOLDER [--out DIR] [--repeat N] [--threads N] NAME=FILE...");
  return command;
}

std::vector<ffi::Tensor> LoadInputs(const std::vector<Spec>& specs, std::map<std::string, std::string> files) {
  std::vector<ffi::Tensor> tensors;
  for (const Spec& spec : specs) {
    auto found = files.find(spec.name);
    if (found == files.end()) Refuse("missing input " + spec.name);
    tensors.push_back(ffi::Tensor::FromNDAlloc(AlignedMemory(), ffi::Shape(spec.shape.begin(), spec.shape.end()),
                                               ffi::StringToDLDataType(spec.dtype), DLDevice{kDLCPU, 0}));
    Fill(spec, found->second, tensors.back());
    files.erase(found);
  }
  if (!files.empty()) Refuse("surplus input " + files.begin()->first);
  return tensors;
}

int Run(const Command& command) {
  std::vector<Spec> inputs, outputs;
  ReadSpecs(command.folder + "/tensors.txt", &inputs, &outputs);
  std::vector<ffi::Tensor> given = LoadInputs(inputs, command.files);

  auto start = Clock::now();
  ffi::Module library = ffi::Module::LoadFromFile(command.folder + "/lib.so");
  ffi::Module machine = library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
  machine->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, /*pooled memory*/ 2);
  ffi::Function model = machine->GetFunction("main").value();
  double load_s = Seconds(start);

  std::vector<ffi::AnyView> views(given.begin(), given.end());
  std::vector<double> times_s;
  ffi::Any made;
  for (int turn = 0; turn < command.repeat; ++turn) {
    start = Clock::now();
    model.CallPacked(views.data(), static_cast<int32_t>(views.size()), &made);
    times_s.push_back(Seconds(start));
  }

  std::vector<ffi::Tensor> results;
  if (auto one = made.as<ffi::Tensor>()) results.push_back(*one);
  else for (const ffi::Tensor& each : made.cast<ffi::Array<ffi::Tensor>>()) results.push_back(each);
  if (results.size() != outputs.size()) Refuse("the model made another number of outputs than tensors.txt names");
  for (size_t at = 0; at < results.size() && !command.out.empty(); ++at) {
    std::string name = outputs[at].name;
    std::replace(name.begin(), name.end(), '/', '_');
    Save(command.out + "/" + name + ".npy", results[at]);
  }
  std::sort(times_s.begin(), times_s.end());
  std::cout << "{\"load_s\": " << load_s << ", \"run_s\": " << times_s[times_s.size() / 2]
            << ", \"runs\": " << times_s.size() << "}" << std::endl;
  return 0;
}

int main(int argc, char** argv) {
  try {
    return Run(Parse(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "runner: " << error.what() << std::endl;
    return 1;
  }
}
