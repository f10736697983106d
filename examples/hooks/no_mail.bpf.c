/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* No endpoint sends mail by itself, whatever policy says: TCP port 25 is dropped on the way out. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kinety_hook.h"

KINETY_EGRESS
int no_mail(struct __sk_buff *skb)
{
	struct kinety_packet packet = kinety_packet(skb);
	__be16 ports[2];

	if (packet.protocol != IPPROTO_TCP || packet.reply || packet.later_fragment)
		return KINETY_PASS;
	if (bpf_skb_load_bytes(skb, packet.transport, ports, sizeof(ports)))
		return KINETY_DROP;
	return ports[1] == bpf_htons(25) ? KINETY_DROP : KINETY_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
