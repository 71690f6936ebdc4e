// KtlsStream: one TLS connection whose record layer is in the kernel, as a net::Stream. Data moves by plain
// reads, writes and splice(2); every other record (alert, KeyUpdate, ticket) arrives through recvmsg with its
// type and is obeyed as in established.hpp; keys can be changed where the kernel can (6.14).
#pragma once

#include "tlsplice/ktls/established.hpp"

namespace tlsplice::ktls {

class KtlsStream final : public EstablishedStream {
 public:
  /// `keys` are installed in both directions already.
  KtlsStream(base::Fd socket, const TrafficKeys& keys, const Support& support,
             std::uint64_t records_per_key = kRecordsPerKeyMax);

  net::Io read(std::span<std::byte> into) override;
  net::Io write(std::span<const std::byte> from) override;
  bool drained() const override { return drained_; }
  /// Reading without padding decrypts straight into the reader's buffer, which beats splicing fresh pages
  /// (FINDINGS 10).
  net::Splicing splices_out() const override {
    return splices_ ? net::Splicing::kPossible : net::Splicing::kNever;
  }
  net::Splicing splices_in() const override { return net::Splicing::kWorthIt; }
  net::Io spliced_out(ssize_t result) override;
  net::Io spliced_in(ssize_t result) override;
  net::Io may_splice_in() override;
  bool wakes_early() const override { return wakes_early_; }

 private:
  bool send_record(std::uint8_t type, std::span<const std::byte> body, bool more) override;
  bool change_key(Way way, const DirectionKeys& keys) override;
  std::uint64_t records_sent(std::uint64_t at_most) const override;

  bool drained_ = false;
  bool wakes_early_;
  bool splices_;                 // the kernel does, and loses no other record by it
  bool splice_refused_ = false;  // by something that the next read must find
};

}  // namespace tlsplice::ktls
