import { fileURLToPath } from 'node:url'
import { compare, median, startTargets } from '../lib/rounds.mjs'
import { startHaproxyTcp, startNginxStream } from '../lib/stream-servers.mjs'
import { LOAD_CORE, PROXY_CORE, cpu, freePorts, startNode } from '../lib/system.mjs'

const file = (name) => fileURLToPath(new URL(`../targets/${name}`, import.meta.url))
const profiled = (profiles) => profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`, '--cpu-prof-name=stream.cpuprofile']
const node = async ({ backends: [small, bulk, udp], profiles }, kind, count) => {
  const ports = await freePorts(count)
  return { ...await startNode(PROXY_CORE, file('stream.mjs'), { kind, small, bulk, udp, ports }, kind === 'headgate' ? profiled(profiles) : []), ports }
}
const targets = {
  headgate: (context) => node(context, 'headgate', 3),
  'floor in Node': (context) => node(context, 'floor', 2),
  haproxy: async ({ work, backends }) => startHaproxyTcp(work, await freePorts(2), backends),
  nginx: async ({ work, backends }) => startNginxStream(work, await freePorts(3), backends)
}

/** `listener`: index of the one that takes it. `unit`: how many of what the load counts are one of what is shown. */
const kinds = [
  { name: 'connections', listener: 0, unit: 1, per: 'connection' },
  { name: 'round trips', listener: 0, unit: 1, per: 'round trip', of: 'haproxy', atLeast: 0.8 },
  { name: 'download', listener: 1, unit: 1e6, per: 'MB', of: 'haproxy', atLeast: 0.9 },
  { name: 'upload', listener: 1, unit: 1e6, per: 'MB', of: 'haproxy', atLeast: 0.9 },
  { name: 'udp', listener: 2, unit: 1, per: 'datagram and answer', of: 'nginx', atLeast: 0.5 }
]

export default {
  order: 97,
  name: 'stream',
  title: 'Layer 4: TCP and UDP',
  text: 'Connections with one byte each way and its answer, opened one after the other on 32 lanes; round trips of 120 bytes on 64 connections; volume on 4 connections; datagrams of 120 bytes and their answers from 16 sockets, 8 on their way from each. CPU µs of the proxy per connection, round trip, MB, or datagram with its answer, and what the proxy does with the same CPU time as multiples of what HAProxy (`mode tcp`), for UDP nginx (`stream`), does.',
  remarks: '‘floor in Node’ is the least that a TCP proxy in Node does: each side read by `onread` into one buffer of its own, what came written to the other, and nothing counted, chosen, bounded or timed. A new connection costs Node twice what it costs HAProxy there already: two sockets with their streams and events. Node’s `dgram` takes and gives one datagram for each system call, on Node 20, 22 and 24 alike, as does nginx.',
  async run (context) {
    context.backends = []
    for (const kind of ['echo', 'volume', 'udp']) context.backends.push((await startNode(LOAD_CORE, file('stream-backend.mjs'), { kind })).port)
    const { started, skipped } = await startTargets(targets, context)
    const rows = []
    const checks = []
    for (const kind of kinds) {
      const { name, per, of = 'haproxy', atLeast } = kind
      const figures = await measure(kind, started, context)
      const work = (target) => figures[of] === undefined ? undefined : compare(figures[of].us, figures[target].us)
      for (const [target, { us, rate }] of Object.entries(figures)) rows.push([`${name}, ${target}`, per, median(us), median(rate), work(target)?.median ?? ''])
      if (atLeast === undefined) continue
      const text = `${name}: headgate ≥ ${atLeast.toFixed(2)} × ${of}`
      const came = work('headgate')
      checks.push(came === undefined ? { text, missing: true } : { text, value: came.median, low: came.low, high: came.high, met: came.median >= atLeast })
    }
    return { columns: ['', 'per', 'µs', 'per second', '× HAProxy’s work (UDP: nginx’s)'], rows, checks, skipped }
  }
}

/** For each target, lists of µs and of units per second, one entry a round. */
async function measure ({ name, listener, unit }, started, { rounds, seconds, stop }) {
  const figures = {}
  // The first round is for the JIT.
  for (let round = -1; round < rounds; round++) {
    for (const [target, { pid, ports }] of Object.entries(started)) {
      if (ports[listener] === undefined) continue
      const before = cpu(pid)
      const load = await startNode(LOAD_CORE, file('stream-load.mjs'), { kind: name, port: ports[listener], seconds })
      const used = cpu(pid) - before
      await stop(load)
      if (round < 0) continue
      const units = load.port / unit
      figures[target] ??= { us: [], rate: [] }
      figures[target].us.push(used / units)
      figures[target].rate.push(units / seconds)
    }
  }
  return figures
}
