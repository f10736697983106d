/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Facts of the node that do not change while a template is loaded. They live in a
 * frozen .rodata map, so the verifier turns them into constants and removes the code
 * a node does not use. Everything that changes at run time is a map instead.
 */
#ifndef KINETY_ABI_CONFIG_H
#define KINETY_ABI_CONFIG_H

#include <linux/types.h>

#include "contract_hash.h"

#define CONFIG_CONSTANT const volatile __attribute__((section(".rodata.config"), used))

/* An endpoint's row is its host-side interface index minus this. */
CONFIG_CONSTANT __u32 config_interface_base = 65536;
CONFIG_CONSTANT __u32 config_ipv4 = 1;
CONFIG_CONSTANT __u32 config_ipv6 = 1;
/* 0: drops and verdict changes only; 1: and new flows. */
CONFIG_CONSTANT __u32 config_event_level = 1;
/* Idle times in seconds after which a flow is new again. */
CONFIG_CONSTANT __u32 config_tcp_established = 21600;
CONFIG_CONSTANT __u32 config_tcp_opening = 60;
CONFIG_CONSTANT __u32 config_tcp_closing = 10;
CONFIG_CONSTANT __u32 config_udp_idle = 60;
CONFIG_CONSTANT __u32 config_udp_replied = 180;
CONFIG_CONSTANT __u32 config_icmp_idle = 30;

/*
 * Which contract an object was compiled with; the loader refuses another one. It has a
 * section of its own, which no program reads, so it becomes no map.
 */
const volatile __attribute__((section("contract"), used)) __u64 contract_hash = KINETY_CONTRACT_HASH;

#endif
