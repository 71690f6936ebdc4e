#include "probe_bpf.hpp"

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "tlsplice/base/fd.hpp"

namespace tlsplice::cli {
namespace {

/// "return 1" for a reuseport program (SK_PASS), "return 0" for an iterator (go on).
int load(bpf_prog_type type, bpf_attach_type attach, std::int32_t answer, std::uint32_t btf_id = 0) {
  const bpf_insn program[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = answer},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = type;
  attributes.expected_attach_type = attach;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program);
  attributes.insn_cnt = std::size(program);
  attributes.license = reinterpret_cast<std::uintptr_t>("GPL");
  attributes.attach_btf_id = btf_id;
  const base::Fd loaded(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
  return loaded ? 0 : errno;
}

/// What follows a type in BTF, in bytes (Documentation/bpf/btf.rst); none of an unknown kind.
std::size_t bytes_after(const btf_type& type) {
  const std::size_t count = BTF_INFO_VLEN(type.info);
  switch (BTF_INFO_KIND(type.info)) {
    case BTF_KIND_INT:
      return sizeof(std::uint32_t);
    case BTF_KIND_ARRAY:
      return sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return count * sizeof(btf_member);
    case BTF_KIND_ENUM:
      return count * sizeof(btf_enum);
    case BTF_KIND_ENUM64:
      return count * sizeof(btf_enum64);
    case BTF_KIND_FUNC_PROTO:
      return count * sizeof(btf_param);
    case BTF_KIND_VAR:
      return sizeof(btf_var);
    case BTF_KIND_DATASEC:
      return count * sizeof(btf_var_secinfo);
    case BTF_KIND_DECL_TAG:
      return sizeof(btf_decl_tag);
    default:
      return 0;
  }
}

/// The number of a function in the kernel's BTF, 0 when it has none. Types are numbered from 1 in their
/// order.
std::uint32_t function_id(const char* name) {
  std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
  const std::string btf{std::istreambuf_iterator<char>(file), {}};
  btf_header header{};
  if (btf.size() < sizeof header) return 0;
  std::memcpy(&header, btf.data(), sizeof header);
  const std::size_t types = header.hdr_len + header.type_off;
  const std::size_t strings = header.hdr_len + header.str_off;
  if (header.magic != BTF_MAGIC || types + header.type_len > btf.size() || strings > btf.size()) return 0;
  std::uint32_t id = 1;
  for (std::size_t at = types; at + sizeof(btf_type) <= types + header.type_len; ++id) {
    btf_type type{};
    std::memcpy(&type, btf.data() + at, sizeof type);
    const bool function = BTF_INFO_KIND(type.info) == BTF_KIND_FUNC;
    if (function && strings + type.name_off < btf.size() &&
        std::strcmp(btf.c_str() + strings + type.name_off, name) == 0) {
      return id;
    }
    at += sizeof type + bytes_after(type);
  }
  return 0;
}

int load_tcp_iterator() {
  const std::uint32_t target = function_id("bpf_iter_tcp");
  return target == 0 ? ENOENT : load(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, 0, target);
}

bool bpffs_is_mounted() {
  struct statfs status{};
  return ::statfs("/sys/fs/bpf", &status) == 0 && status.f_type == BPF_FS_MAGIC;
}

}  // namespace

BpfSupport probe_bpf() {
  return {
      .sk_reuseport = load(BPF_PROG_TYPE_SK_REUSEPORT, BPF_SK_REUSEPORT_SELECT, SK_PASS),
      .sk_reuseport_migrate = load(BPF_PROG_TYPE_SK_REUSEPORT, BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, SK_PASS),
      .tcp_iterator = load_tcp_iterator(),
      .bpffs = bpffs_is_mounted()};
}

}  // namespace tlsplice::cli
