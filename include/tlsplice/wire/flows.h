/*
 * One live flow, as a worker tells `tlsplice flows` of it: rows of this size, one after the other, on a
 * socket that the master handed to both. Worker and tool are the same program, so the row has no version;
 * its size does for one. Texts end with a zero.
 */
#ifndef TLSPLICE_WIRE_FLOWS_H
#define TLSPLICE_WIRE_FLOWS_H

#include <linux/types.h>

#include "tlsplice/wire/numbers.h"

struct tlsplice_flow {
  char listener[TLSPLICE_NAME_SIZE];
  char client[TLSPLICE_TARGET_SIZE]; /* "[address]:port" */
  char target[TLSPLICE_TARGET_SIZE]; /* empty before one has taken the connection */
  char state[16];                    /* "handshake", "connecting", "relaying" */
  char protocol[16];                 /* OpenSSL's names; "-" without TLS */
  char cipher[40];
  char group[24];
  char alpn[16]; /* application protocol that was agreed on with the client; "-": none */
  char target_alpn[16];
  char client_ktls[16]; /* "kernel", or why not; "-" without TLS */
  char target_ktls[16];
  char server_name[256]; /* empty: the client named none */
  char relay[16];        /* the listener's mode */
  char from_client[8];   /* how the last bytes went: "copy", "splice"; "-": none yet */
  char to_client[8];
  __u64 worker;
  __u64 client_cookie; /* SO_COOKIE of the two sockets; 0: there is none */
  __u64 target_cookie;
  __u64 age_ms;
  __u64 received; /* payload bytes from the client, */
  __u64 sent;     /* and to it */
};

#endif /* TLSPLICE_WIRE_FLOWS_H */
