/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A pair of programs of whatever size, to see what a template costs as it grows
 * (bench/template_size.py). Size is -D STEPS, shared by both: so many times, unrolled, the things
 * that the real programs do: a look-up with a key of the packet's, branches on what was found, an
 * endpoint's own values and the node's constants, counters. Every step is code of its own.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/event.h"
#include "lib/identity.h"
#include "lib/self.h"

#ifndef STEPS
#define STEPS 2
#endif

/* What a step leaves to the next one. As in the real programs, the verifier has to follow either case. */
struct progress {
	struct address key;
	struct ipcache_entry *entry;     /* null: the last key is nobody's */
};

/* The next key; a negative reason when it is this endpoint's own. */
static __always_inline int step(const struct __sk_buff *skb, const struct endpoint *self,
				struct progress *progress, __u32 number)
{
	struct ipcache_entry *former = progress->entry;
	struct address copy;
	const struct address *own = self_address(self, number & 1, &copy);
	__u32 class;

	progress->key.word[3] += number;
	progress->entry = bpf_map_lookup_elem(&ipcache_hosts, &progress->key);
	if (!progress->entry) {
		if (own->word[3] == progress->key.word[3])
			return -REASON_POLICY_DENIED;
		if (former)
			rule_count(former->identity, skb->len);
		return 0;
	}
	class = identity_class(progress->entry->identity + number);
	if (class && class == self->identity[number & 1])
		reason_count(number & 7, number & 1, skb->len);
	else if (config_event_level && own->word[0] != progress->entry->node)
		rule_count(number, skb->len);
	progress->key.word[number & 3] ^= class;
	return 0;
}

static __always_inline int judge(struct __sk_buff *skb, __u32 first, __u32 end)
{
	struct endpoint *self = self_row(skb);
	struct progress progress = {};
	__u32 number;

	if (!endpoint_is_ready(self))
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &progress.key, sizeof(progress.key)))
		return TC_ACT_SHOT;
	self_count(first & 1);
#pragma clang loop unroll(full)
	for (number = first; number < end; number++)
		if (step(skb, self, &progress, number) < 0)
			return TC_ACT_SHOT;
	return TC_ACT_OK;
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	return judge(skb, 0, STEPS / 2);
}

SEC("tc")
int to_endpoint(struct __sk_buff *skb)
{
	return judge(skb, STEPS / 2, STEPS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
