/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sockets of clients and proxies, and which belong together: what sockmap.bpf.c alone knows. */
#ifndef KINETY_LIB_PAIR_H
#define KINETY_LIB_PAIR_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi/types.h"

/* A connection as both of its ends know it, and nobody else: its ends and where its bytes are counted from. */
struct meeting_key {
	struct address client;
	struct address server;
	__u16 client_port;                    /* host byte order, as all of these */
	__u16 server_port;
	__u32 client_sequence;
	__u32 server_sequence;
};

/* A socket of some network namespace, known by the kernel's number for that. */
struct socket_key {
	__u64 namespace;
	struct address local;
	struct address remote;
	__u16 local_port;                     /* host byte order */
	__u16 remote_port;
	__u8 reserved[4];
};

/* Where the kernel has a socket, and which it is: another may be there later. */
struct socket_place {
	__u64 socket;
	__u64 cookie;
	__u64 namespace;
};

/* Both ends of a connection between a client and a proxy. */
struct socket_pair {
	struct socket_place own;
	struct socket_place other;
	__u32 sequence;                       /* of the proxy's first byte */
	__u8 reserved[4];
};

/*
 * Connection -> its client's socket, until its proxy's is there, too.
 * Written by the programs.
 * Read when a proxy accepts; a miss leaves the connection to packets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct meeting_key);
	__type(value, struct socket_place);
} meetings SEC(".maps");

/*
 * Socket -> itself and the one at the other end.
 * Written by the programs.
 * Read when it sends; a miss leaves that to packets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct socket_key);
	__type(value, struct socket_pair);
} pairs SEC(".maps");

/*
 * Socket of a client's or a proxy's -> what the kernel knows it by.
 * Written by the programs; the kernel removes what is closed.
 * Read when the other end sends; a miss leaves that to packets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 65536);
	__type(key, struct socket_key);
	__type(value, __u64);
} sockets SEC(".maps");

#endif
