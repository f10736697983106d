/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Filters of the node's operator, behind the verdict of policy. They are programs in the
 * slots of a prog array, swapped by one store while packets pass. Each slot is asked by a
 * tail call from a function of its own: what the filter answers comes back here, so it can
 * drop what policy allows and never the other way round.
 *
 * What a filter is told stands in skb->cb, as include/kinety_hook.h says.
 */
#ifndef KINETY_LIB_HOOK_H
#define KINETY_LIB_HOOK_H

#include "abi/config.h"
#include "abi/maps.h"
#include "include/kinety_hook.h"
#include "lib/event.h"
#include "lib/judge.h"
#include "lib/packet.h"

/* Bit direction * HOOK_SLOT_COUNT + slot for every filter. Most nodes have none: then this is the whole cost. */
static __always_inline __u32 hook_slots(void)
{
	__u32 row = 0;
	struct node_state *state;

	if (!config_hooks)
		return 0;
	state = bpf_map_lookup_elem(&node_state, &row);
	return state ? *(volatile __u32 *)&state->hooks : 0;
}

/* What the filters of one end are told, in the order of skb->cb. */
struct hook_facts {
	__u32 word[KINETY_CB_PACKET + 1];
};

_Static_assert(DIRECTION_COUNT * HOOK_SLOT_COUNT == 16, "hook_call has a case for each row");
/* A number that is known when the program is loaded makes the call a jump, which the kernel patches
 * when the slot is stored: a third of what looking it up costs. */
#define HOOK_CALL(row) case row: bpf_tail_call_static(skb, &hooks, row); break

/*
 * An empty slot lets pass. Global, and the answer hidden from the compiler: neither it nor the
 * verifier may conclude that the answer is the one written here. A kernel allows 256 bytes of
 * stack below a function that makes a tail call.
 */
__noinline int hook_call(struct __sk_buff *skb, const struct hook_facts *facts, __u32 row)
{
	int answer = KINETY_PASS;

	if (!facts)
		return answer;
	skb->cb[KINETY_CB_ENDPOINT] = facts->word[KINETY_CB_ENDPOINT];
	skb->cb[KINETY_CB_LOCAL] = facts->word[KINETY_CB_LOCAL];
	skb->cb[KINETY_CB_REMOTE] = facts->word[KINETY_CB_REMOTE];
	skb->cb[KINETY_CB_RULE] = facts->word[KINETY_CB_RULE];
	skb->cb[KINETY_CB_PACKET] = facts->word[KINETY_CB_PACKET];
	switch (row) {
	HOOK_CALL(0); HOOK_CALL(1); HOOK_CALL(2); HOOK_CALL(3);
	HOOK_CALL(4); HOOK_CALL(5); HOOK_CALL(6); HOOK_CALL(7);
	HOOK_CALL(8); HOOK_CALL(9); HOOK_CALL(10); HOOK_CALL(11);
	HOOK_CALL(12); HOOK_CALL(13); HOOK_CALL(14); HOOK_CALL(15);
	}
	barrier_var(answer);
	return answer;
}

/*
 * Ask the filters whose bits are set in `slots`, of the rows from `first` on. 0, or the row of the
 * one that drops, plus one. Global: the verifier looks at it once.
 */
__noinline int hook_ask(struct __sk_buff *skb, const struct hook_facts *facts, __u32 slots, __u32 first)
{
	__u32 slot;

	if (!facts)
		return 0;
#pragma clang loop unroll(disable)
	for (slot = 0; slot < HOOK_SLOT_COUNT; slot++) {
		if (!(slots >> slot & 1))
			continue;
		if (hook_call(skb, facts, first + slot) != KINETY_PASS)
			return first + slot + 1;
	}
	return 0;
}

/* 0 when every filter of an end lets the packet pass, else a negative reason. Global, as above. */
__noinline int hook_judge(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *endpoint,
			  const struct party *party, struct outcome *outcome)
{
	struct hook_facts facts;
	__u32 row, first, protocol;

	if (!packet || !endpoint || !party || !outcome)
		return 0;
	first = (party->direction & 1) * HOOK_SLOT_COUNT;
	/* An error that speaks for a flow is parsed as a packet of that flow. */
	protocol = !packet->related ? packet->protocol : packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	facts.word[KINETY_CB_ENDPOINT] = endpoint->id;
	facts.word[KINETY_CB_LOCAL] = endpoint_identity(endpoint, packet->ipv6);
	facts.word[KINETY_CB_REMOTE] = party->remote_identity;
	facts.word[KINETY_CB_RULE] = party->rule;
	facts.word[KINETY_CB_PACKET] = KINETY_PACKET_BITS(packet->transport, protocol, party->direction & 1,
							  party->reply & 1, packet->ipv6 & 1,
							  packet->fragment == FRAGMENT_LATER);
	row = hook_ask(skb, &facts, hook_slots() >> first, first);
	if (!row)
		return 0;
	outcome->denied = party->direction + 1;
	outcome->hook = row--;
	counter_add(bpf_map_lookup_elem(&hook_counters, &row), packet->length);
	return -REASON_HOOK_DENIED;
}

#endif
