/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Judging: may this packet pass, as far as one endpoint is concerned?
 *
 * A flow keeps each endpoint's verdict together with what it depended on: the endpoint's
 * epoch and the identity at the other end. While both are as they were, the verdict holds
 * and nothing is looked up. Where the other end is no endpoint of this node, its identity
 * can only have changed if the ipcache's generation has; so that is compared first.
 *
 * A shadow rule set is asked when a decision is made, and afterwards only about flows of
 * which it said something else: what it costs is paid by endpoints that have one.
 */
#ifndef KINETY_LIB_JUDGE_H
#define KINETY_LIB_JUDGE_H

#include "lib/conntrack.h"
#include "lib/event.h"
#include "lib/identity.h"
#include "lib/policy.h"
#include "lib/shadow.h"

/* decision.flags: the opener was the node itself, known by where the packet came from. */
#define DECISION_FROM_NODE 1
/* decision.flags: the shadow rule set disagreed, so each packet is counted. */
#define DECISION_SHADOWED 2

/*
 * One endpoint's part in a packet, and what came of it. Numbers only: a global function may
 * follow no pointer that it finds in memory.
 */
struct party {
	__u32 remote_identity;           /* of the other end; given when `known` */
	__u32 rule;                      /* that decided */
	__u8 direction;                  /* enum direction, of the packet; the flow's, unless `reply` */
	__u8 reply;                      /* the packet goes to the one who opened the flow */
	__u8 known;                      /* the other end is an endpoint of this node or the node itself */
	__u8 from_node;                  /* the other end is the node itself */
	__u8 forwarded;                  /* the other end opened the flow through the node's stack */
	__u8 routed;                     /* so it did, and is an endpoint of this node */
};

/* What of a proxy's a packet is for. */
enum proxy {
	PROXY_NONE = 0,
	PROXY_SOCKET = 1,                /* the flow's socket, or else its listener */
	PROXY_RESET = 2,                 /* the listener, which knows no such connection and says so */
	PROXY_ANSWER = 3,                /* the socket that a server answers */
	PROXY_LISTENER = 4,              /* the loopback interface: its destination is the listener now (lib/nat.h) */
	PROXY_TOLD = 5,                  /* the one who opened the flow, as its reset */
};

/* What became of a packet, for the event that tells of a drop and for filters (lib/hook.h). */
struct outcome {
	__u32 receiver;                  /* slot in endpoints, plus one, when it is one of this node */
	__u8 denied;                     /* which party did, plus one */
	__u8 hook;                       /* slot of the filter that did, plus one */
	__u8 passed;                     /* every party has allowed it: filters are to be asked */
	__u8 limited;                    /* one of them has a limit: rates are to be asked (lib/rate.h) */
	__u8 proxy;                      /* enum proxy: where to, instead of its receiver (lib/redirect.h) */
	__u8 opened : 1;                 /* its flow is led there from this packet on */
	__u8 plain : 1;                  /* without a listener it may go on to its receiver */
	__u16 proxy_port;                /* the listener that policy sends it to, host byte order */
	__u16 sender_port;               /* the listener that sent it, whose rules it has been through */
	struct party party[DIRECTION_COUNT];
};

/* A party, from the packet's direction as it sees it and the other end, if an endpoint of this node. */
static __always_inline void party_set(struct party *party, const struct packet *packet, __u8 direction,
				      _Bool reply, const struct endpoint *peer)
{
	party->remote_identity = peer ? endpoint_identity(peer, packet->ipv6) : IDENTITY_UNKNOWN;
	party->direction = direction;
	party->reply = reply;
	party->known = !!peer;
}

/* The other end is the node itself. */
static __always_inline void party_is_node(struct party *party)
{
	party->remote_identity = IDENTITY_HOST;
	party->known = 1;
	party->from_node = 1;
}

/* The flow's direction, as the party sees it. */
static __always_inline __u32 party_direction(const struct party *party)
{
	return (party->direction ^ party->reply) & 1;
}

static __always_inline const struct address *party_address(const struct packet *packet,
							   const struct party *party)
{
	return party->direction == DIRECTION_EGRESS ? &packet->destination : &packet->source;
}

/* Who is at the other end. What was forwarded is not the node's, whatever its source says. */
static __always_inline __u32 party_identity(const struct packet *packet, const struct party *party)
{
	const struct address *address = party_address(packet, party);
	__u32 identity;

	if (party->known)
		return party->remote_identity;
	identity = identity_of_address(address);
	return party->forwarded && identity == IDENTITY_HOST ? identity_world(address) : identity;
}

/* Whether a kept decision still stands, as far as can be said without a look-up. */
static __always_inline _Bool decision_holds(const struct decision *kept, const struct party *party, __u32 epoch)
{
	if (kept->epoch != epoch)
		return 0;
	if (kept->flags & DECISION_FROM_NODE)
		return 1;
	if (party->known)
		return kept->remote_identity == party->remote_identity;
	/* 0: the other end was an endpoint of this node when it was judged. */
	return kept->generation && kept->generation == identity_generation();
}

/*
 * Replace a kept decision. Another CPU may be reading it: an epoch of 0 never holds, so a
 * reader sees the old decision, none, or the new one.
 */
static __always_inline void decision_keep(struct decision *kept, const struct decision *fresh)
{
	*(volatile __u32 *)&kept->epoch = 0;
	kept->remote_identity = fresh->remote_identity;
	kept->generation = fresh->generation;
	kept->rule = fresh->rule;
	kept->proxy_port = fresh->proxy_port;
	*(volatile __u8 *)&kept->verdict = fresh->verdict;
	kept->flags = fresh->flags;
	barrier();
	*(volatile __u32 *)&kept->epoch = fresh->epoch;
}

/* Tell of a decision. Global: see event_write. */
__noinline int decision_tell(const struct packet *packet, const struct endpoint *endpoint,
			     const struct decision *decision, __u32 direction, __u32 kind)
{
	struct occasion occasion = { .kind = kind, .direction = direction };

	if (!packet || !endpoint || !decision)
		return 0;
	occasion.remote_identity = decision->remote_identity;
	occasion.rule = decision->rule;
	occasion.verdict = decision->verdict;
	event_emit(packet, endpoint, &occasion);
	return 0;
}

/* The port that a flow is judged by: the opened end's, or the type of an ICMP message. */
static __always_inline __u16 flow_port(const struct packet *packet, const struct party *party)
{
	if (packet_is_icmp(packet)) {
		if (packet->untracked)
			return packet->icmp_type;
		return packet->ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
	}
	return party->reply ? bpf_ntohs(packet->source_port) : bpf_ntohs(packet->destination_port);
}

/* Whether the endpoint has a shadow rule set that disagrees with a decision; counts and tells of it. */
static __always_inline _Bool party_shadow(const struct packet *packet, const struct endpoint *endpoint,
					  const struct party *party, const struct decision *decision,
					  __u16 port, __u32 begins)
{
	__u32 way = party_direction(party);

	if (!config_shadow || !*(volatile __u32 *)&endpoint->shadow_rule_set[way])
		return 0;
	return shadow_judge(packet, endpoint, party_address(packet, party), decision,
			    port | way << SHADOW_WAY | begins << SHADOW_BEGINS);
}

/* A verdict from the rule set. User space writes that before the epoch, so it is read after it. */
static __always_inline void decision_make(const struct packet *packet, const struct endpoint *endpoint,
					  const struct party *party, struct decision *fresh, __u16 port)
{
	struct rule_set_entry verdict = {};
	__u32 slot = *(volatile __u32 *)&endpoint->rule_set[party_direction(party)];

	policy_lookup(slot, fresh->remote_identity, packet->protocol, port, &verdict);
	fresh->rule = verdict.rule;
	fresh->proxy_port = verdict.proxy_port;
	fresh->verdict = verdict.verdict;
	fresh->flags = party->from_node ? DECISION_FROM_NODE : 0;
}

/*
 * See to it that a decision stands: the one that is kept, when the other end turns out to be
 * who it was, else a new one in its place. Global: what is known after it is that memory.
 */
__noinline int decision_renew(const struct packet *packet, const struct endpoint *endpoint,
			      struct decision *kept, const struct party *party)
{
	struct decision fresh = {};
	_Bool differed;
	__u16 port;

	if (!packet || !endpoint || !kept || !party)
		return 0;
	fresh.epoch = *(volatile __u32 *)&endpoint->epoch;
	fresh.generation = party->known ? 0 : identity_generation();
	fresh.remote_identity = party_identity(packet, party);
	port = flow_port(packet, party);
	differed = kept->epoch && (kept->flags & DECISION_SHADOWED);
	if (kept->epoch && kept->epoch == fresh.epoch &&
	    (kept->flags & DECISION_FROM_NODE || kept->remote_identity == fresh.remote_identity)) {
		kept->generation = fresh.generation;
		if (differed)
			party_shadow(packet, endpoint, party, kept, port, 0);
		return 0;
	}
	decision_make(packet, endpoint, party, &fresh, port);
	if (party_shadow(packet, endpoint, party, &fresh, port, !differed))
		fresh.flags |= DECISION_SHADOWED;
	if (kept->epoch && kept->verdict != fresh.verdict)
		decision_tell(packet, endpoint, &fresh, party_direction(party), EVENT_VERDICT_CHANGE);
	decision_keep(kept, &fresh);
	return 0;
}

/* Lead a flow to a listener: the opener's first. What a listener sent has been through its rules. */
static __always_inline int party_redirect(const struct packet *packet, const struct decision *decision,
					  struct outcome *outcome)
{
	if (!CONTEXT_REDIRECTS || !config_redirect || !decision->proxy_port ||
	    (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP))
		return -REASON_PROXY_UNAVAILABLE;
	if (!outcome->proxy_port && decision->proxy_port != outcome->sender_port)
		outcome->proxy_port = decision->proxy_port;
	return 0;
}

/* What a decision means for the packet: 0 or a negative reason. Counts the rule that decided. */
static __always_inline int party_obey(const struct packet *packet, const struct decision *decision,
				      struct party *party, struct outcome *outcome)
{
	int error = -REASON_POLICY_DENIED;

	rule_count(decision->rule, packet->length);
	party->remote_identity = decision->remote_identity;
	party->rule = decision->rule;
	if (decision->verdict == VERDICT_ALLOW)
		return 0;
	if (decision->verdict == VERDICT_REDIRECT)
		error = party_redirect(packet, decision, outcome);
	if (error)
		outcome->denied = party->direction + 1;
	return error;
}

/* An endpoint's say about a packet of a known flow: 0 when it may pass, else a negative reason. */
static __always_inline int party_judge(const struct packet *packet, const struct endpoint *endpoint,
				       struct conntrack_entry *entry, struct party *party,
				       struct outcome *outcome)
{
	__u32 epoch = *(volatile __u32 *)&endpoint->epoch;
	struct decision *kept = &entry->decision[party_direction(party)];

	if (!decision_holds(kept, party, epoch) || kept->flags & DECISION_SHADOWED)
		decision_renew(packet, endpoint, kept, party);
	return party_obey(packet, kept, party, outcome);
}

#endif
