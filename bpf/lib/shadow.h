/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a rule set that is not in force would have done: counted and told, never obeyed.
 */
#ifndef KINETY_LIB_SHADOW_H
#define KINETY_LIB_SHADOW_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/event.h"
#include "lib/policy.h"

/*
 * A global function takes five arguments. So the last one holds the port in its lowest 16
 * bits, then the direction, then whether the flow did not differ before: such a flow is
 * counted and told of, any other only its packets.
 */
#define SHADOW_WAY 16
#define SHADOW_BEGINS 17

static __always_inline struct shadow_counter *shadow_row(const struct shadow_key *key,
							 const struct packet *packet,
							 const struct address *peer, __u16 port)
{
	struct shadow_counter *counter = bpf_map_lookup_elem(&shadow_counters, key);
	__u32 row = 0;

	if (counter)
		return counter;
	counter = bpf_map_lookup_elem(&shadow_scratch, &row);
	if (!counter)
		return (void *)0;
	counter->peer = *peer;
	counter->port = port;
	counter->protocol = packet->protocol;
	/* Another processor may have been faster: then its row is the one. */
	bpf_map_update_elem(&shadow_counters, key, counter, BPF_NOEXIST);
	return bpf_map_lookup_elem(&shadow_counters, key);
}

/* Count a packet about which a shadow rule set disagrees. Global: see event_write. */
__noinline int shadow_count(const struct packet *packet, const struct endpoint *endpoint,
			    const struct address *peer, const struct occasion *occasion, __u32 how)
{
	struct shadow_counter *counter;
	struct shadow_key key = {};
	__u32 row = 0;
	__u64 *lost;

	if (!config_shadow || !packet || !endpoint || !peer || !occasion)
		return 0;
	key.endpoint = endpoint->id;
	key.remote_identity = occasion->remote_identity;
	key.rule = occasion->rule;
	key.rule_in_force = occasion->rule_in_force;
	key.direction = occasion->direction;
	key.verdict = occasion->verdict;
	key.verdict_in_force = occasion->verdict_in_force;
	counter = shadow_row(&key, packet, peer, how);
	if (!counter) {
		lost = bpf_map_lookup_elem(&lost_shadows, &row);
		if (lost)
			(*lost)++;
		return 0;
	}
	__sync_fetch_and_add(&counter->flows, how >> SHADOW_BEGINS & 1);
	__sync_fetch_and_add(&counter->packets, 1);
	__sync_fetch_and_add(&counter->bytes, packet->length);
	counter->last_seen = bpf_ktime_get_ns();
	return 0;
}

/* 1 when the shadow rule set disagrees with a decision. Global: see event_write. */
__noinline int shadow_judge(const struct packet *packet, const struct endpoint *endpoint,
			    const struct address *peer, const struct decision *decision, __u32 how)
{
	struct rule_set_entry shadow = {};
	struct occasion occasion = { .kind = EVENT_SHADOW, .direction = how >> SHADOW_WAY & 1 };
	__u32 slot;

	if (!config_shadow || !packet || !endpoint || !peer || !decision)
		return 0;
	slot = *(volatile __u32 *)&endpoint->shadow_rule_set[how >> SHADOW_WAY & 1];
	policy_lookup(slot, decision->remote_identity, packet->protocol, how, &shadow);
	if (!slot || shadow.verdict == decision->verdict)
		return 0;
	occasion.remote_identity = decision->remote_identity;
	occasion.rule = shadow.rule;
	occasion.verdict = shadow.verdict;
	occasion.rule_in_force = decision->rule;
	occasion.verdict_in_force = decision->verdict;
	shadow_count(packet, endpoint, peer, &occasion, how);
	if (how >> SHADOW_BEGINS & 1)
		event_emit(packet, endpoint, &occasion);
	return 1;
}

#endif
