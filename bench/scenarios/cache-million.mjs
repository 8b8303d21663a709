import { fileURLToPath } from 'node:url'
import { load } from '../lib/load.mjs'
import { compare, median } from '../lib/rounds.mjs'
import { PROXY_CORE, cpu, startNode } from '../lib/system.mjs'

const script = fileURLToPath(new URL('../targets/million.mjs', import.meta.url))
const SIZES = { 'a thousand': 1000, 'a million': 1_000_000 }
const BODY = 128

export default {
  order: 75,
  name: 'cache-million',
  title: 'A cache of a million small responses',
  text: 'Responses of 128 bytes with four fields, in a cache for a thousand of them and in one for a million, both full. Memory beyond the fresh process and the bodies, by response. Hits of random ones among all that are stored; the thousand are hit so often that their bytes are kept ready, which is part of the difference; of the million nearly all are packed, and are unpacked by each hit. Then a different path each time, so that each request stores one and pushes one out: the longest that the event loop stood still, and the longest pause for garbage collection.',
  remarks: 'Of what a hit of the million costs more, some 6 µs are the unpacking, which waits for memory that is in no cache of the processor, and the rest is the bytes that the thousand have ready. Why the difference is larger on this machine is not known. The thousand stand still for 51 ms as well, so most of the 74 of the million is neither the evictions nor their garbage: a turn of the event loop may hold 64 misses, and the rest of what was measured is time of day. Counted in the thread\'s CPU time, 20 evicting stores in a row took 11.6 ms at most, and the worst turn of a purge of 200,000 by prefix 9.8 ms.',
  async run ({ rounds, seconds, say }) {
    const targets = {}
    for (const [name, entries] of Object.entries(SIZES)) {
      const server = await startNode(PROXY_CORE, script, { entries }, ['--max-old-space-size=8192'])
      const url = `http://127.0.0.1:${server.port}`
      const state = async (query = '') => (await fetch(`${url}/state${query}`)).json()
      await load(url, { seconds: 2, path: '/item/x' })
      const before = await state('?gc')
      // Each run of the load begins at its first path, so each gets paths of its own; those of the thousand are all tried in each.
      let runs = 0
      for (let left = entries; left > 0;) {
        await load(url, { seconds: entries > 1e5 ? 5 : 1, path: `/item/${entries > 1e5 ? runs++ : 0}-`, distinct: entries > 1e5 ? 10_000_000 : entries })
        const { stored, evicted } = await state()
        left = entries - (stored - evicted) - 1
      }
      targets[name] = { server, url, entries, runs, state, before, full: await state('?gc'), us: [], miss: [], delay: [], pause: [] }
      say(`  ${name}: full`)
    }
    const measure = async ({ url, server }, options) => {
      const start = cpu(server.pid)
      const { requests, errors } = await load(url, { seconds, ...options })
      if (errors > 0) throw new Error(`${errors} errors`)
      return (cpu(server.pid) - start) / requests
    }
    for (let round = 0; round <= rounds; round++) {
      for (const [name, target] of Object.entries(targets)) {
        // Of the first runs some were pushed out by the last ones.
        const run = target.runs === 0 ? 0 : Math.min(3 + round * 2 % Math.max(1, target.runs - 4), target.runs - 1)
        const { hits } = await target.state()
        const us = await measure(target, { path: `/item/${run}-`, distinct: target.entries > 1e5 ? 10_000_000 : target.entries })
        if (rounds > 1 && (await target.state()).hits === hits) throw new Error(`no hits in the cache for ${name}: run ${run} of ${target.runs}, ${JSON.stringify(await target.state())}`)
        // The first is for the JIT.
        if (round > 0) target.us.push(us)
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const target of Object.values(targets)) {
        await fetch(`${target.url}/watch`)
        target.miss.push(await measure(target, { path: `/item/new-${round}-`, distinct: 10_000_000 }))
        const { delay, pause } = await target.state()
        target.delay.push(delay)
        target.pause.push(pause)
      }
    }
    // Of a thousand it would be that of the process.
    const memory = ({ entries, before, full }) => entries > 1e5 ? [(full.heapUsed - before.heapUsed) / entries, (full.rss - before.rss) / entries - BODY] : ['–', '–']
    const rows = Object.entries(targets).map(([name, { before, full, entries, ...lists }]) => [
      name, ...memory({ entries, before, full }), ...['us', 'miss', 'delay', 'pause'].map((list) => median(lists[list]))
    ])
    const [small, big] = Object.values(targets)
    const { median: value, low, high } = compare(big.us, small.us)
    const beyond = rows[1][2]
    const stall = median(big.delay)
    // What stands still with a thousand, too, is the load's and the process's, and not caused by the million.
    const beside = compare(big.delay, small.delay).median
    return {
      columns: ['cache for', 'heap bytes each', 'bytes each beyond the body', 'µs a hit', 'µs a miss that evicts', 'longest stall ms', 'longest GC pause ms'],
      rows,
      checks: [
        { text: 'a million: ≤ 600 bytes each beyond the body', value: beyond, met: beyond <= 600 },
        { text: 'a million: a hit ≤ 1.15 × one of a thousand', value, low, high, met: value <= 1.15 },
        { text: 'a million: longest stall while evicting ≤ 20 ms, or ≤ 1.15 × that of a thousand', value: stall, low: Math.min(...big.delay), high: Math.max(...big.delay), met: stall <= 20 || beside <= 1.15 }
      ]
    }
  }
}
