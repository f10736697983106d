/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whom a client had asked, as proxies ask for it: SO_ORIGINAL_DST of an accepted socket, whose own address is
 * the listener's (lib/nat.h). Attached to the proxies' cgroup. Of every other socket the kernel's answer stands.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/address.h"

#define SOL_IP 0
#define SOL_IPV6 41
/* Also IP6T_SO_ORIGINAL_DST. */
#define SO_ORIGINAL_DST 80
#define AF_INET 2
#define AF_INET6 10
/* Let the kernel, or the program, answer. */
#define ANSWERED 1

/* Structures of the C library, whose headers are not for programs. */
struct ipv4_name {
	__u16 family;
	__be16 port;
	__be32 address;
	__u8 reserved[8];
};

struct ipv6_name {
	__u16 family;
	__be16 port;
	__be32 flow;
	struct address address;
	__u32 scope;
};

/* The row of a socket; null when it is not about one that was led to a listener here. */
static __always_inline struct proxy_entry *row_of(struct bpf_sock *socket, __u32 family)
{
	struct proxy_key key = { .protocol = IPPROTO_TCP };

	if (family == AF_INET) {
		if (socket->src_ip4 != bpf_htonl(0x7f000001))
			return (void *)0;
		key.client = address_from_ipv4(socket->dst_ip4);
	} else {
		if (socket->src_ip6[0] | socket->src_ip6[1] | socket->src_ip6[2] ||
		    socket->src_ip6[3] != bpf_htonl(1))
			return (void *)0;
		key.client.word[0] = socket->dst_ip6[0];
		key.client.word[1] = socket->dst_ip6[1];
		key.client.word[2] = socket->dst_ip6[2];
		key.client.word[3] = socket->dst_ip6[3];
	}
	key.client_port = socket->dst_port;
	key.listener_port = socket->src_port;
	return bpf_map_lookup_elem(&proxy, &key);
}

/* Stores of 64 bits at once are refused ("invalid bpf_context access"): hence volatile. */
static __always_inline void answer(struct bpf_sockopt *ctx, __u32 length)
{
	*(volatile __s32 *)&ctx->optlen = length;
	*(volatile __s32 *)&ctx->retval = 0;
}

SEC("cgroup/getsockopt")
int original_destination(struct bpf_sockopt *ctx)
{
	struct bpf_sock *socket = ctx->sk;
	struct proxy_entry *row;
	void *value = ctx->optval, *end = ctx->optval_end;

	if (!socket || ctx->optname != SO_ORIGINAL_DST)
		return ANSWERED;
	if (ctx->level == SOL_IP && socket->family == AF_INET) {
		struct ipv4_name *name = value;

		row = row_of(socket, AF_INET);
		if (!row || (void *)(name + 1) > end)
			return ANSWERED;
		*name = (struct ipv4_name){ AF_INET, row->destination_port, row->destination.word[3], {} };
		answer(ctx, sizeof(*name));
	} else if (ctx->level == SOL_IPV6 && socket->family == AF_INET6) {
		struct ipv6_name *name = value;

		row = row_of(socket, AF_INET6);
		if (!row || (void *)(name + 1) > end)
			return ANSWERED;
		*name = (struct ipv6_name){ AF_INET6, row->destination_port, 0, row->destination, 0 };
		answer(ctx, sizeof(*name));
	}
	return ANSWERED;
}

char _license[] SEC("license") = "Dual BSD/GPL";
