/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which way a flow goes that policy has something to say about beyond addresses and ports: to the
 * listener of a proxy, and back. No sockets here (lib/proxy.h has them), only where a packet belongs.
 *
 * What a client opens is led to a listener, as the server. What the proxy opens then, in the name of
 * the client, is a flow of its own (flow_key.proxied), judged like the client's; it comes from a port of
 * the proxies' range and bears a mark with the port of its listener, whose rules it has been through.
 *
 * Where a flow goes was settled when it was opened, and stands in its entry. When policy has changed its
 * mind, both ends are told by a reset, and come back the right way.
 */
#ifndef KINETY_LIB_REDIRECT_H
#define KINETY_LIB_REDIRECT_H

#include "lib/conntrack.h"
#include "lib/judge.h"

/* A listener that nobody has: the flow's socket may be one of any. */
#define REDIRECT_UNKNOWN 65535

/* How a packet came, for redirect_follow. */
#define REDIRECT_REPLY 1          /* it goes to the one who opened the flow */
#define REDIRECT_FROM_NODE 2      /* the node itself sent it */
#define REDIRECT_FROM_SOCKET 4    /* with the mark that a proxy's socket has from its client */

static __always_inline _Bool mark_leads_to_proxy(__u32 mark)
{
	return config_redirect && (mark & MARK_KIND & ~MARK_ANSWERED_HERE) == MARK_TO_PROXY;
}

static __always_inline _Bool mark_comes_from_proxy(__u32 mark)
{
	return config_redirect && (mark & MARK_KIND) == MARK_FROM_PROXY;
}

/* What tells a proxy who its client is. */
static __always_inline __u32 mark_to_proxy(__u32 identity)
{
	return identity << 16 | MARK_TO_PROXY | (identity >> 16 & 0xff) |
	       (identity / IDENTITY_LOCAL_BIT & 1) * MARK_LOCAL_IDENTITY;
}

static __always_inline _Bool port_is_of_proxies(__be16 port)
{
	__u32 number = bpf_ntohs(port);

	return number >= config_proxy_source_first && number <= config_proxy_source_last;
}

/* What the entry of a flow says: the listener that it is led to, or 0. */
static __always_inline __u16 redirect_led(const struct conntrack_entry *entry)
{
	return entry->flags & CONNTRACK_REDIRECTED ? entry->proxy_port : 0;
}

static __always_inline void redirect_lead(struct conntrack_entry *entry, __u16 port)
{
	entry->proxy_port = port;
	if (port)
		__sync_fetch_and_or(&entry->flags, CONNTRACK_REDIRECTED);
	else
		__sync_fetch_and_and(&entry->flags, ~CONNTRACK_REDIRECTED);
}

/* The flow of the same ends that is a client's own, if this one is a proxy's, and the other way round: if it lives. */
static __always_inline struct conntrack_entry *redirect_twin(struct flow_key *key, __u32 now)
{
	struct conntrack_entry *twin;

	key->proxied ^= 1;
	twin = bpf_map_lookup_elem(&conntrack, key);
	key->proxied ^= 1;
	if (!twin || conntrack_is_over(twin, now, key->protocol) || conntrack_is_closed(twin))
		return (void *)0;
	return twin;
}

/*
 * Whether a flow lives that would meet this one at one end: a client's own and its proxy's at the server,
 * or two that are led to proxies at the node's sockets.
 */
static __always_inline _Bool redirect_clashes(const struct packet *packet, struct flow_key *key, __u32 flags)
{
	struct conntrack_entry *twin = redirect_twin(key, packet->now);

	return twin && !((twin->flags ^ flags) & CONNTRACK_REDIRECTED);
}

/*
 * A new flow that everybody allows: 0 when it is to be entered, 1 when it is not, or a negative reason.
 * The middle of a connection is not led anywhere: its listener resets it. Global: see flow_open.
 */
__noinline int redirect_open(const struct packet *packet, struct flow_key *key, struct outcome *outcome)
{
	__u32 flags = 0;

	if (!config_redirect || !packet || !key || !outcome)
		return 0;
	if (outcome->proxy_port) {
		flags = CONNTRACK_REDIRECTED;
		outcome->opened = 1;
		outcome->proxy = PROXY_SOCKET;
		if (packet->protocol == IPPROTO_TCP && !packet_opens(packet)) {
			if (!(packet->tcp_flags & TCP_RST))
				outcome->proxy = PROXY_RESET;
			outcome->opened = 0;
			return 1;
		}
	}
	if ((key->proxied || port_is_of_proxies(packet->source_port)) && redirect_clashes(packet, key, flags))
		return -REASON_PROXY_PORT_TAKEN;
	return 0;
}

/* Says what becomes of a packet whose flow goes another way than policy wants now. */
static __always_inline int redirect_change(const struct packet *packet, struct conntrack_entry *entry,
					   struct outcome *outcome, __u16 led, _Bool reply)
{
	__u16 wanted = outcome->proxy_port;

	/* Datagrams follow at once; so does a connection that begins. */
	if (packet->protocol != IPPROTO_TCP || (packet_opens(packet) && !reply)) {
		redirect_lead(entry, wanted);
		outcome->opened = 1;
		outcome->proxy = !wanted ? PROXY_NONE : reply ? PROXY_RESET : PROXY_SOCKET;
		return 0;
	}
	/* The end of what was: its socket should hear of it. */
	if (led && !reply && packet->tcp_flags & TCP_RST) {
		outcome->proxy_port = led;
		outcome->proxy = PROXY_SOCKET;
		return 0;
	}
	/* Whoever opened it may be waiting for just this, and say nothing more that could be answered. */
	if (reply && !led && !packet->fragment && !(packet->tcp_flags & (TCP_SYN | TCP_RST)) &&
	    !(entry->flags & CONNTRACK_RESET)) {
		__sync_fetch_and_or(&entry->flags, CONNTRACK_RESET);
		outcome->proxy = PROXY_TOLD;
		return 0;
	}
	/* The connection's ports are free then, which nobody may say who is seen here. */
	if (!reply)
		__sync_fetch_and_or(&entry->flags, CONNTRACK_RESET);
	outcome->proxy = PROXY_RESET;
	if (!wanted) {
		outcome->proxy_port = led;
		outcome->plain = 1;
	}
	return 0;
}

/*
 * A packet of a known flow that everybody allows, and that is led to a proxy or should be. `how` it came:
 * REDIRECT_REPLY and the like. Global: see packet_parse.
 */
__noinline int redirect_follow(const struct packet *packet, struct conntrack_entry *entry,
			       struct outcome *outcome, __u32 how)
{
	_Bool reply = how & REDIRECT_REPLY;
	__u16 led;

	if (!config_redirect || !packet || !entry || !outcome)
		return 0;
	led = redirect_led(entry);
	/* The proxy's answer, or the reset of a listener. Where it is neither, a process of the node goes on. */
	if (reply && how & REDIRECT_FROM_NODE &&
	    (led || how & REDIRECT_FROM_SOCKET || packet->tcp_flags & TCP_RST || packet->related))
		return 0;
	if (packet->related) {
		outcome->proxy_port = led;
		outcome->proxy = led ? PROXY_SOCKET : PROXY_NONE;
		return 0;
	}
	if (led != outcome->proxy_port)
		return redirect_change(packet, entry, outcome, led, reply);
	outcome->proxy = reply ? PROXY_RESET : PROXY_SOCKET;
	/* The client says that it was answered, which passes no endpoint when it is none. */
	if (!reply && packet->tcp_flags & TCP_ACK && !(entry->flags & CONNTRACK_REPLIED))
		__sync_fetch_and_or(&entry->flags, CONNTRACK_REPLIED);
	return 0;
}

/*
 * A packet goes to the socket of the proxy that opened its flow, unless redirect_follow has another word. Where
 * the proxy asked for a host port, only the stack knows what its socket calls the server; it leads the
 * answer to the interface of the client, when that is an endpoint of this node.
 */
static __always_inline void redirect_answer(const struct conntrack_entry *entry, struct outcome *outcome)
{
	outcome->proxy = PROXY_ANSWER;
	outcome->plain = !!outcome->receiver;
	if (!redirect_led(entry))
		outcome->sender_port = entry->proxy_port;
}

/*
 * Whether a packet answers a flow that a proxy opened; then the key is that flow's. Of an ICMP error the key
 * is of what it quotes. Global: few packets go to ports of the proxies' range.
 */
__noinline int redirect_answers(struct packet *packet, struct flow_key *key)
{
	struct conntrack_entry *entry;

	if (!packet || !key)
		return 0;
	packet->now = context_time() / NANOSECONDS_PER_SECOND;
	key->proxied = 1;
	entry = bpf_map_lookup_elem(&conntrack, key);
	if (entry && !conntrack_is_over(entry, packet->now, key->protocol) &&
	    conntrack_is_reply(entry, packet) != packet->icmp_error &&
	    !(conntrack_is_closed(entry) && redirect_twin(key, packet->now)))
		return 1;
	key->proxied = 0;
	return 0;
}

/* The port at the receiving end of the flow that a packet belongs to, or that it quotes a packet of. */
static __always_inline __be16 redirect_port(const struct packet *packet, const struct flow_key *key)
{
	return packet->source_high == packet->icmp_error ? key->high_port : key->low_port;
}

#endif
