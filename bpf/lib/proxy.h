/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sockets of proxies: how a packet gets the one that it is for.
 *
 * A connection's packets are given its own socket, the first one that of its listener, which is found on the
 * loopback address by its port. The mark has the packet delivered here, whatever its destination says.
 *
 * Where the kernel has to choose a socket itself, the packet bears only the mark, the listener is put where
 * the kernel's question (proxy.bpf.c) finds it, and conntrack says which. So it is with a SYN that meets the
 * rest of a former connection (TIME_WAIT): given the listener, the kernel would find the tuple taken and
 * drop it for a minute. And so with fragments, which lose their socket when they are put together.
 */
#ifndef KINETY_LIB_PROXY_H
#define KINETY_LIB_PROXY_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/judge.h"
#include "lib/nat.h"
#include "lib/redirect.h"
#include "lib/related.h"
#include "lib/socket.h"
#include "lib/tell.h"

/* Words of skb->cb on the way from to_endpoint to from_endpoint. */
#define PROXY_CB_HOW 0            /* outcome: the listener's port, `proxy` from bit 16, `opened` in bit 24 */
#define PROXY_CB_SENDER 1         /* outcome: sender_port */
#define PROXY_CB_OPENED (1 << 24)

/*
 * A connection begins with the ends of one that its proxy has not given up, and whose listener need not be
 * the one of now. TCP sorts that out by itself; until it has, nothing else may pass.
 */
__noinline int proxy_distrust(const struct packet *packet, const struct outcome *outcome)
{
	struct packet ends = {};
	struct flow_key key = {};
	struct conntrack_entry *entry;

	if (!packet || !outcome)
		return 0;
	ends.source = packet->source;
	ends.destination = packet->destination;
	ends.source_port = packet->source_port;
	ends.destination_port = packet->destination_port;
	ends.protocol = packet->protocol;
	packet_flow_key(&ends, &key);
	key.proxied = !!outcome->sender_port;
	entry = bpf_map_lookup_elem(&conntrack, &key);
	if (entry)
		entry->proxy_port = REDIRECT_UNKNOWN;
	return 0;
}

/* A TCP segment to its socket, or to a listener: whether there is one. Global, as above. */
__noinline int proxy_take_tcp(struct __sk_buff *skb, const struct packet *packet, const struct outcome *outcome)
{
	int found = SOCKET_NONE;
	__u32 how;

	if (!packet || !outcome)
		return 0;
	how = packet->fragment ? LISTENER_CHOSEN : LISTENER_GIVEN;
	if (outcome->proxy != PROXY_RESET)
		found = socket_give_tcp(skb, packet);
	if (found == SOCKET_LIVE && outcome->opened)
		proxy_distrust(packet, outcome);
	if (found == SOCKET_GIVEN || found == SOCKET_LIVE)
		return 1;
	if (outcome->proxy == PROXY_ANSWER && outcome->plain)
		return 0;
	if (found == SOCKET_WAITING)
		how = LISTENER_CHOSEN;
	return listener_give_tcp(skb, packet->ipv6, outcome->proxy_port ?: outcome->sender_port, how);
}

/* A datagram likewise: those of clients are the listener's. */
__noinline int proxy_take_udp(struct __sk_buff *skb, const struct packet *packet, const struct outcome *outcome)
{
	if (!packet || !outcome)
		return 0;
	if (outcome->proxy == PROXY_ANSWER)
		return socket_give_udp(skb, packet, packet->fragment) == SOCKET_GIVEN;
	return listener_give_udp(skb, packet->ipv6, outcome->proxy_port,
				  packet->fragment ? LISTENER_CHOSEN : LISTENER_GIVEN);
}

/* The mark that tells who the client is, as the one who is asked about ingress sees it. */
static __always_inline __u32 proxy_mark(const struct outcome *outcome)
{
	return mark_to_proxy(outcome->party[DIRECTION_INGRESS].remote_identity);
}

/*
 * See to it that the node delivers a packet to a proxy, who is told the client's identity. A positive or
 * negative reason, or 0 for one that may go on to its receiver. Global, as above.
 */
__noinline int proxy_take(struct __sk_buff *skb, const struct packet *packet, const struct outcome *outcome,
			  __u32 mark)
{
	int found;

	if (!config_redirect || !packet || !outcome)
		return -REASON_PROXY_UNAVAILABLE;
	/* An error finds whom it tells by what it quotes. */
	if (packet->related)
		found = 1;
	else if (packet->protocol == IPPROTO_TCP)
		found = proxy_take_tcp(skb, packet, outcome);
	else if (outcome->proxy == PROXY_RESET)
		return -REASON_PROXY_BYPASSED;
	else
		found = proxy_take_udp(skb, packet, outcome);
	if (!found)
		return outcome->plain ? 0 : -REASON_PROXY_UNAVAILABLE;
	if (outcome->proxy == PROXY_RESET)
		lead_to_reset(skb);
	skb->mark = lead_mark(mark);
	return REASON_FORWARDED_PROXY;
}

/* What becomes of an answer to a packet that is to be led to a proxy. Global, as above. */
__noinline int proxy_lead(struct __sk_buff *skb, const struct packet *packet, struct outcome *outcome,
			  int answer)
{
	int taken;

	if (!packet || !outcome || answer < 0)
		return answer;
	if (outcome->proxy == PROXY_TOLD) {
		answer = tell_receiver(skb, packet, answer);
		/* That one is a proxy, which routing finds only where its client is an endpoint. */
		if (answer < 0 || !outcome->sender_port)
			return answer;
		outcome->proxy = PROXY_ANSWER;
	}
	if (outcome->proxy == PROXY_SOCKET && packet->protocol == IPPROTO_TCP && !packet->related &&
	    nat_applies(packet, outcome)) {
		outcome->proxy = PROXY_LISTENER;
		return nat_lead(skb, packet, outcome, proxy_mark(outcome));
	}
	taken = proxy_take(skb, packet, outcome, proxy_mark(outcome));
	return taken ? taken : answer;
}

/*
 * Whether a packet out of the node's stack, or what it quotes, is for a socket of a proxy's. No entry
 * need say so: what a proxy sends out of the node or to it passes no endpoint.
 */
__noinline int proxy_awaits(struct __sk_buff *skb, const struct packet *packet, const struct flow_key *key)
{
	struct packet answer = {};
	_Bool low;

	if (!config_redirect || !packet || !key)
		return 0;
	low = packet->source_high != packet->icmp_error;
	answer.ipv6 = packet->ipv6;
	answer.source = low ? key->high : key->low;
	answer.destination = low ? key->low : key->high;
	answer.source_port = low ? key->high_port : key->low_port;
	answer.destination_port = low ? key->low_port : key->high_port;
	if (key->protocol == IPPROTO_TCP)
		return socket_awaits_tcp(skb, &answer);
	if (key->protocol == IPPROTO_UDP)
		return socket_give_udp(skb, &answer, 1);
	return 0;
}

/* The listener that sent a packet in the name of a client, or 0. Global: nobody need know which. */
__noinline __u32 proxy_sender(struct __sk_buff *skb)
{
	return !skb->ingress_ifindex && mark_comes_from_proxy(skb->mark) ? skb->mark >> 16 : 0;
}

/*
 * Whether the node resets a connection in the name of who opened it: policy leads that one to a proxy now
 * (lib/redirect.h). Global, as above.
 */
__noinline int proxy_resets(struct __sk_buff *skb, const struct packet *packet)
{
	if (!config_redirect || !packet || skb->ingress_ifindex || !(packet->tcp_flags & TCP_RST))
		return 0;
	return endpoint_of_address(&packet->source) || identity_of_address(&packet->source) != IDENTITY_HOST;
}

/* Whether no proxy waits for a packet: its flow is known, and it answers nothing that a proxy has sent. */
static __always_inline _Bool is_spoken_for(const struct flow *flow, const struct flow_key *key)
{
	if (!flow->entry)
		return 0;
	return !flow->reply || (!key->proxied && !(flow->entry->flags & CONNTRACK_REDIRECTED));
}

/*
 * Whether a packet is the proxies' own business: a reset of theirs, or something that one of their sockets waits
 * for. The latter is noted in the outcome. A process of the node's that answers a proxy does so with the
 * proxy's own mark.
 */
static __always_inline _Bool proxy_concerns(struct __sk_buff *skb, const struct packet *packet,
					 const struct flow_key *key, const struct flow *flow,
					 struct outcome *outcome)
{
	if (!config_redirect)
		return 0;
	if (!outcome->sender_port && !flow->reply && proxy_resets(skb, packet))
		return 1;
	if (is_spoken_for(flow, key) || !port_is_of_proxies(redirect_port(packet, key)))
		return 0;
	if (proxy_awaits(skb, packet, key)) {
		if (flow->entry && !packet_quotes(packet))
			conntrack_note(packet, flow);
		outcome->proxy = PROXY_ANSWER;
		return 1;
	}
	/* For a proxy that is not there any more. */
	if (flow->entry && flow->reply && key->proxied) {
		outcome->proxy = PROXY_RESET;
		outcome->sender_port = flow->entry->proxy_port;
	}
	return outcome->proxy;
}

/* How the packet came, for redirect_follow. */
static __always_inline __u32 proxy_came(const struct __sk_buff *skb)
{
	__u32 how = mark_leads_to_proxy(skb->mark) ? REDIRECT_FROM_SOCKET : 0;

	return skb->ingress_ifindex ? 0 : how | REDIRECT_FROM_NODE;
}

/*
 * Whether a proxy speaks in the name of somebody elsewhere. What the node's stack answers it would go there, unless
 * it bears a mark: a listener's connections do, its resets do not.
 */
static __always_inline _Bool proxy_is_astray(struct __sk_buff *skb, const struct packet *packet)
{
	return proxy_sender(skb) && !endpoint_of_address(&packet->source) &&
	       identity_of_address(&packet->source) != IDENTITY_HOST;
}

/*
 * Back to the endpoint's interface, to be taken there: sockets are given where packets come in, and nowhere
 * else. The mark says that it was here. A reason not to, or 0. Global, as above.
 */
__noinline int proxy_turn(struct __sk_buff *skb, const struct packet *packet, struct outcome *outcome)
{
	__u32 mark;

	if (!config_redirect || !packet || !outcome)
		return -REASON_PROXY_UNAVAILABLE;
	mark = proxy_mark(outcome) | MARK_TURNED;
	if (proxy_is_astray(skb, packet)) {
		mark |= MARK_ANSWERED_HERE;
		if (outcome->proxy == PROXY_RESET && packet->protocol == IPPROTO_TCP) {
			if (tell_sender(skb, packet))
				return -REASON_PACKET_REWRITE;
			outcome->proxy = PROXY_ANSWER;
		}
	}
	skb->mark = mark;
	skb->cb[PROXY_CB_HOW] = outcome->proxy_port | (__u32)outcome->proxy << 16 |
				(outcome->opened ? PROXY_CB_OPENED : 0);
	skb->cb[PROXY_CB_SENDER] = outcome->sender_port;
	return 0;
}

/* A packet that was turned back is taken: a positive or negative reason. Global, as above. */
__noinline int proxy_arrive(struct __sk_buff *skb, struct packet *packet, struct outcome *outcome, __u32 mark)
{
	struct flow_key key = {};
	int error;

	if (!packet || !outcome)
		return -REASON_PROXY_UNAVAILABLE;
	error = packet_parse(skb, packet, &key, skb->protocol, ETH_HLEN);
	if (error)
		return error;
	outcome->proxy_port = skb->cb[PROXY_CB_HOW];
	outcome->proxy = skb->cb[PROXY_CB_HOW] >> 16;
	outcome->opened = !!(skb->cb[PROXY_CB_HOW] & PROXY_CB_OPENED);
	outcome->sender_port = skb->cb[PROXY_CB_SENDER];
	packet->related = packet->icmp_error;
	if (bpf_skb_change_type(skb, PACKET_HOST))
		return -REASON_PACKET_REWRITE;
	error = proxy_take(skb, packet, outcome, mark);
	return error ? error : -REASON_PROXY_UNAVAILABLE;
}

#endif
