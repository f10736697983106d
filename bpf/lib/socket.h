/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sockets of the node's that packets are for: found, given to a packet, or offered to the kernel. A lookup
 * takes hold of what it finds, so each has a function of its own, global, which lets go of it again.
 */
#ifndef KINETY_LIB_SOCKET_H
#define KINETY_LIB_SOCKET_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/lead.h"
#include "lib/packet.h"

/* What became of looking for a socket. */
enum socket_found {
	SOCKET_NONE = 0,
	SOCKET_GIVEN = 1,                 /* the packet has it */
	SOCKET_LIVE = 2,                  /* likewise, and it is of a connection that is there already */
	SOCKET_WAITING = 3,               /* the rest of a former connection: the kernel is to choose a listener */
};

/*
 * Where no connection has a tuple, a lookup asks for listeners, and so the kernel would ask proxy.bpf.c what it
 * answers for packets. It is told not to, by `lookups`. Nobody else runs on this processor meanwhile that
 * could be meant: programs run while soft interrupts are disabled, where packets are received.
 */
static __always_inline void lookup_note(__u64 begins)
{
	__u64 *runs;

	if (lead_by_nftables())
		return;
	runs = bpf_map_lookup_elem(&lookups, &(__u32){ 0 });
	if (runs)
		*runs = begins;
}

/* The TCP socket with these ends; a listener, perhaps, that listens everywhere. To be released. */
static __always_inline struct bpf_sock *lookup_tcp(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
						   __u32 length)
{
	struct bpf_sock *found;

	lookup_note(1);
	found = bpf_skc_lookup_tcp(skb, tuple, length, BPF_F_CURRENT_NETNS, 0);
	lookup_note(0);
	return found;
}

/* The same of UDP. */
static __always_inline struct bpf_sock *lookup_udp(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
						   __u32 length)
{
	struct bpf_sock *found;

	lookup_note(1);
	found = bpf_sk_lookup_udp(skb, tuple, length, BPF_F_CURRENT_NETNS, 0);
	lookup_note(0);
	return found;
}

/* A packet's ends as the kernel looks for sockets: its length. */
static __always_inline __u32 socket_tuple(struct bpf_sock_tuple *tuple, const struct packet *packet)
{
	if (packet->ipv6) {
		__builtin_memcpy(tuple->ipv6.saddr, &packet->source, sizeof(tuple->ipv6.saddr));
		__builtin_memcpy(tuple->ipv6.daddr, &packet->destination, sizeof(tuple->ipv6.daddr));
		tuple->ipv6.sport = packet->source_port;
		tuple->ipv6.dport = packet->destination_port;
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.saddr = packet->source.word[3];
	tuple->ipv4.daddr = packet->destination.word[3];
	tuple->ipv4.sport = packet->source_port;
	tuple->ipv4.dport = packet->destination_port;
	return sizeof(tuple->ipv4);
}

/* Where a listener is found. */
static __always_inline __u32 listener_tuple(struct bpf_sock_tuple *tuple, __u32 ipv6, __u16 port)
{
	if (ipv6) {
		tuple->ipv6.daddr[3] = bpf_htonl(1);
		tuple->ipv6.dport = bpf_htons(port);
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.daddr = bpf_htonl(0x7f000001);
	tuple->ipv4.dport = bpf_htons(port);
	return sizeof(tuple->ipv4);
}

/* Give a packet the socket of its TCP connection (enum socket_found). Global, as all of these. */
__noinline int socket_give_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	__u32 length, state;
	int error;

	if (!config_redirect || !packet)
		return SOCKET_NONE;
	length = socket_tuple(&tuple, packet);
	found = lookup_tcp(skb, &tuple, length);
	if (!found)
		return SOCKET_NONE;
	state = found->state;
	/* Somebody on this node may listen at every address. */
	if (state == BPF_TCP_LISTEN || (state == BPF_TCP_TIME_WAIT && packet_opens(packet))) {
		bpf_sk_release(found);
		return state == BPF_TCP_LISTEN ? SOCKET_NONE : SOCKET_WAITING;
	}
	error = lead_to_socket(skb, found);
	bpf_sk_release(found);
	if (error)
		return SOCKET_NONE;
	return state == BPF_TCP_NEW_SYN_RECV || state == BPF_TCP_TIME_WAIT ? SOCKET_GIVEN : SOCKET_LIVE;
}

/*
 * Whether a proxy speaks to somebody with a packet's ends, and so waits for the packet: what it speaks by has
 * its mark. The rest of a former connection waits for nothing.
 */
__noinline int socket_awaits_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found, *whole;
	__u32 length;
	int awaits;

	if (!config_redirect || !packet)
		return 0;
	length = socket_tuple(&tuple, packet);
	found = lookup_tcp(skb, &tuple, length);
	if (!found)
		return 0;
	whole = bpf_sk_fullsock(found);
	awaits = whole && (whole->mark & MARK_KIND) == MARK_FROM_PROXY;
	bpf_sk_release(found);
	return awaits;
}

/*
 * Whether a socket is bound to a packet's destination, and not to every address. Words are read one by one:
 * the compiler would reckon with the socket's address ("R2 pointer arithmetic on sock prohibited").
 */
static __always_inline _Bool socket_is_at(const struct bpf_sock *found, const struct packet *packet)
{
	const volatile struct bpf_sock *socket = found;
	const __be32 *wanted = packet->destination.word;

	if (!packet->ipv6)
		return socket->src_ip4 == wanted[3];
	return !((socket->src_ip6[0] ^ wanted[0]) | (socket->src_ip6[1] ^ wanted[1]) |
		 (socket->src_ip6[2] ^ wanted[2]) | (socket->src_ip6[3] ^ wanted[3]));
}

/* The same of UDP, for answers: a socket at just the destination, and no server of the node's. */
__noinline int socket_give_udp(struct __sk_buff *skb, const struct packet *packet, __u32 only_look)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	_Bool fits;
	__u32 length;
	int error = 0;

	if (!config_redirect || !packet)
		return SOCKET_NONE;
	length = socket_tuple(&tuple, packet);
	found = lookup_udp(skb, &tuple, length);
	if (!found)
		return SOCKET_NONE;
	fits = (found->mark & MARK_KIND) == MARK_FROM_PROXY && socket_is_at(found, packet);
	if (fits && !only_look)
		error = lead_to_socket(skb, found);
	bpf_sk_release(found);
	return fits && !error ? SOCKET_GIVEN : SOCKET_NONE;
}

/* How a listener gets a packet. */
#define LISTENER_GIVEN 0          /* by the packet */
#define LISTENER_CHOSEN 1         /* by the kernel's question */
#define LISTENER_SEEN 2           /* not at all: it is only to be there */

/* Have a listener's socket where the kernel's question finds it. */
static __always_inline int listener_offer(struct bpf_sock *listener, const struct listener_key *key)
{
	struct bpf_sock *held = bpf_map_lookup_elem(&listeners, key);

	if (held) {
		bpf_sk_release(held);
		return 0;
	}
	return bpf_map_update_elem(&listeners, key, listener, BPF_ANY);
}

/* Lead a packet to a TCP listener: whether there is one. Global, as above. */
__noinline int listener_give_tcp(struct __sk_buff *skb, __u32 ipv6, __u16 port, __u32 how)
{
	struct listener_key key = { .port = port, .protocol = IPPROTO_TCP, .ipv6 = ipv6 };
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	__u32 length;
	int error;

	if (!config_redirect)
		return 0;
	length = listener_tuple(&tuple, ipv6, port);
	found = lookup_tcp(skb, &tuple, length);
	if (!found)
		return 0;
	if (found->state != BPF_TCP_LISTEN)
		error = 1;
	else if (how == LISTENER_SEEN)
		error = 0;
	else if (how == LISTENER_CHOSEN && !lead_by_nftables())
		error = listener_offer(found, &key);
	else
		error = lead_to_listener(skb, found, port);
	bpf_sk_release(found);
	return !error;
}

/* The same for UDP, whose lookups give sockets of another kind: the verifier wants them apart. */
__noinline int listener_give_udp(struct __sk_buff *skb, __u32 ipv6, __u16 port, __u32 how)
{
	struct listener_key key = { .port = port, .protocol = IPPROTO_UDP, .ipv6 = ipv6 };
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	__u32 length;
	int error;

	if (!config_redirect)
		return 0;
	length = listener_tuple(&tuple, ipv6, port);
	found = lookup_udp(skb, &tuple, length);
	if (!found)
		return 0;
	if (how == LISTENER_CHOSEN && !lead_by_nftables())
		error = listener_offer(found, &key);
	else
		error = lead_to_listener(skb, found, port);
	bpf_sk_release(found);
	return !error;
}

#endif
