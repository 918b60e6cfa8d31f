// The headers that TVM's runtime sources include and its wheels leave out, as far as the runtime needs them: byte
// streams, the format that compiled models are stored in, half floats. It stands for all of them at once; the build
// makes each name include this file. What only other parts of TVM use is absent or refuses.
#ifndef ISTHMUS_TVM_RUNTIME_SUPPORT_H_
#define ISTHMUS_TVM_RUNTIME_SUPPORT_H_

#include <dlpack/dlpack.h>
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/string.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tvm {
namespace support {

class Stream;

// How a T is stored: numbers as they lie in memory (little-endian), what holds several after their count in 64 bits.
template <typename T, typename = void>
struct Serializer;

class Stream {
 public:
  virtual ~Stream() = default;
  virtual size_t Read(void* data, size_t size) = 0;
  virtual size_t Write(const void* data, size_t size) = 0;

  template <typename T>
  void Write(const T& value) {
    Serializer<T>::Write(this, value);
  }
  template <typename T>
  bool Read(T* value) {
    return Serializer<T>::Read(this, value);
  }
  template <typename T>
  void WriteArray(const T* values, size_t count) {
    for (size_t at = 0; at < count; ++at) Write(values[at]);
  }
  template <typename T>
  bool ReadArray(T* values, size_t count) {
    for (size_t at = 0; at < count; ++at)
      if (!Read(&values[at])) return false;
    return true;
  }
};

template <typename T>
struct Serializer<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const T& value) { to->Write(static_cast<const void*>(&value), sizeof value); }
  static bool Read(Stream* from, T* value) { return from->Read(static_cast<void*>(value), sizeof *value) == sizeof *value; }
};

template <>
struct Serializer<DLDataType> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const DLDataType& value) {
    to->Write(value.code);
    to->Write(value.bits);
    to->Write(value.lanes);
  }
  static bool Read(Stream* from, DLDataType* value) {
    return from->Read(&value->code) && from->Read(&value->bits) && from->Read(&value->lanes);
  }
};

template <>
struct Serializer<DLDevice> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const DLDevice& value) {
    to->Write(static_cast<int32_t>(value.device_type));
    to->Write(value.device_id);
  }
  static bool Read(Stream* from, DLDevice* value) {
    int32_t kind = 0;
    bool whole = from->Read(&kind) && from->Read(&value->device_id);
    value->device_type = static_cast<DLDeviceType>(kind);
    return whole;
  }
};

template <typename A, typename B>
struct Serializer<std::pair<A, B>> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const std::pair<A, B>& value) {
    to->Write(value.first);
    to->Write(value.second);
  }
  static bool Read(Stream* from, std::pair<A, B>* value) {
    return from->Read(&value->first) && from->Read(&value->second);
  }
};

template <typename T>
struct Serializer<std::vector<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const std::vector<T>& values) {
    to->Write(static_cast<uint64_t>(values.size()));
    to->WriteArray(values.data(), values.size());
  }
  static bool Read(Stream* from, std::vector<T>* values) {
    uint64_t count = 0;
    if (!from->Read(&count)) return false;
    values->resize(count);
    return from->ReadArray(values->data(), count);
  }
};

template <>
struct Serializer<std::string> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const std::string& text) {
    to->Write(static_cast<uint64_t>(text.size()));
    to->Write(static_cast<const void*>(text.data()), text.size());
  }
  static bool Read(Stream* from, std::string* text) {
    uint64_t size = 0;
    if (!from->Read(&size)) return false;
    text->resize(size);
    return from->Read(static_cast<void*>(text->data()), size) == size;
  }
};

template <typename K, typename V>
struct Serializer<std::unordered_map<K, V>> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const std::unordered_map<K, V>& values) {
    to->Write(std::vector<std::pair<K, V>>(values.begin(), values.end()));
  }
  static bool Read(Stream* from, std::unordered_map<K, V>* values) {
    std::vector<std::pair<K, V>> pairs;
    if (!from->Read(&pairs)) return false;
    *values = std::unordered_map<K, V>(pairs.begin(), pairs.end());
    return true;
  }
};

template <>
struct Serializer<ffi::String> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const ffi::String& text) { to->Write(std::string(text)); }
  static bool Read(Stream* from, ffi::String* text) {
    std::string found;
    if (!from->Read(&found)) return false;
    *text = ffi::String(std::move(found));
    return true;
  }
};

template <typename T>
struct Serializer<ffi::Array<T>> {
  static constexpr bool enabled = true;
  static void Write(Stream* to, const ffi::Array<T>& values) {
    to->Write(static_cast<uint64_t>(values.size()));
    for (const T& value : values) to->Write(value);
  }
  static bool Read(Stream* from, ffi::Array<T>* values) {
    uint64_t count = 0;
    if (!from->Read(&count)) return false;
    values->clear();
    for (T value{}; count; --count, values->push_back(value))
      if (!from->Read(&value)) return false;
    return true;
  }
};

class BytesInStream : public Stream {
 public:
  explicit BytesInStream(const ffi::Bytes& bytes) : BytesInStream(bytes.data(), bytes.size()) {}
  explicit BytesInStream(const std::string& bytes) : BytesInStream(bytes.data(), bytes.size()) {}
  BytesInStream(const char* data, size_t size) : data_(data), left_(size) {}
  using Stream::Read;
  using Stream::Write;
  size_t Read(void* data, size_t size) final {
    size = std::min(size, left_);
    if (size) std::memcpy(data, data_, size);
    data_ += size;
    left_ -= size;
    return size;
  }
  size_t Write(const void*, size_t) final { throw std::logic_error("a stream to read from"); }

 private:
  const char* data_;
  size_t left_;
};

class BytesOutStream : public Stream {
 public:
  explicit BytesOutStream(std::string* to) : to_(to) {}
  using Stream::Read;
  using Stream::Write;
  size_t Read(void*, size_t) final { throw std::logic_error("a stream to write to"); }
  size_t Write(const void* data, size_t size) final {
    to_->append(static_cast<const char*>(data), size);
    return size;
  }

 private:
  std::string* to_;
};

// Tensors as text: no compiled model holds them.
class Base64OutStream : public Stream {
 public:
  explicit Base64OutStream(Stream*) { Refuse(); }
  size_t Read(void*, size_t) final { return Refuse(); }
  size_t Write(const void*, size_t) final { return Refuse(); }
  void Finish() {}
  void InitPosition() {}

 private:
  size_t Refuse() { throw std::runtime_error("this runtime was built without base64"); }
};
using Base64InStream = Base64OutStream;

inline bool IsNumber(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
}

struct NVTXScopedRange {  // marks for NVIDIA's profiler
  template <typename T>
  explicit NVTXScopedRange(const T&) {}
};

}  // namespace support
}  // namespace tvm

// Numbers between IEEE formats of other widths, rounded to the nearest, ties to even; `Repr`s are unsigned of the
// format's width, `Bits` its mantissa's. Subnormals, infinities and NaN are kept.
template <typename Source, typename SourceRepr, int SourceBits, typename Made, typename MadeRepr, int MadeBits>
inline MadeRepr IsthmusNarrow(Source value) {
  constexpr int kSourceExponent = sizeof(SourceRepr) * 8 - 1 - SourceBits, kMadeExponent = sizeof(MadeRepr) * 8 - 1 - MadeBits;
  constexpr int kSourceBias = (1 << (kSourceExponent - 1)) - 1, kMadeBias = (1 << (kMadeExponent - 1)) - 1;
  constexpr int kDropped = SourceBits - MadeBits;
  SourceRepr bits;
  std::memcpy(&bits, &value, sizeof bits);
  const MadeRepr sign = static_cast<MadeRepr>((bits >> (sizeof(SourceRepr) * 8 - 1)) << (sizeof(MadeRepr) * 8 - 1));
  const MadeRepr infinity = static_cast<MadeRepr>(((MadeRepr{1} << kMadeExponent) - 1) << MadeBits);
  SourceRepr fraction = bits & ((SourceRepr{1} << SourceBits) - 1);
  int exponent = static_cast<int>((bits >> SourceBits) & ((SourceRepr{1} << kSourceExponent) - 1));
  if (exponent == (1 << kSourceExponent) - 1) return sign | infinity | (fraction ? MadeRepr{1} << (MadeBits - 1) : 0);
  if (exponent) fraction |= SourceRepr{1} << SourceBits;
  exponent += kMadeBias - kSourceBias;
  int drop = kDropped;
  if (exponent <= 0) {  // a subnormal, or nothing
    drop += 1 - exponent;
    exponent = 1;
    if (drop > SourceBits + 2) return sign;
  }
  const SourceRepr half = SourceRepr{1} << (drop - 1), rest = fraction & ((half << 1) - 1);
  SourceRepr kept = fraction >> drop;
  if (rest > half || (rest == half && (kept & 1))) ++kept;
  SourceRepr made = (static_cast<SourceRepr>(exponent - 1) << MadeBits) + kept;  // a carry moves into the exponent
  return sign | (made >= infinity ? infinity : static_cast<MadeRepr>(made));
}

template <typename Source, typename SourceRepr, int SourceBits, typename Made, typename MadeRepr, int MadeBits>
inline Made IsthmusWiden(Source bits) {
  constexpr int kSourceExponent = sizeof(SourceRepr) * 8 - 1 - SourceBits, kMadeExponent = sizeof(MadeRepr) * 8 - 1 - MadeBits;
  constexpr int kSourceBias = (1 << (kSourceExponent - 1)) - 1, kMadeBias = (1 << (kMadeExponent - 1)) - 1;
  MadeRepr sign = static_cast<MadeRepr>(bits >> (sizeof(SourceRepr) * 8 - 1)) << (sizeof(MadeRepr) * 8 - 1);
  MadeRepr fraction = bits & ((MadeRepr{1} << SourceBits) - 1);
  int exponent = (bits >> SourceBits) & ((1 << kSourceExponent) - 1);
  MadeRepr made = 0;
  if (exponent == (1 << kSourceExponent) - 1) {
    made = (((MadeRepr{1} << kMadeExponent) - 1) << MadeBits) | fraction << (MadeBits - SourceBits);
  } else if (exponent || fraction) {
    if (!exponent) {
      for (exponent = 1; !(fraction >> SourceBits); --exponent) fraction <<= 1;
      fraction &= (MadeRepr{1} << SourceBits) - 1;
    }
    made = (static_cast<MadeRepr>(exponent + kMadeBias - kSourceBias) << MadeBits) | fraction << (MadeBits - SourceBits);
  }
  made |= sign;
  Made value;
  std::memcpy(&value, &made, sizeof value);
  return value;
}

#define __truncXfYf2__ IsthmusNarrow  // the names by which TVM's runtime calls them
#define __extendXfYf2__ IsthmusWiden

#endif  // ISTHMUS_TVM_RUNTIME_SUPPORT_H_
