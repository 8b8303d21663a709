import { fileURLToPath } from 'node:url'
import { load } from '../lib/load.mjs'
import { compare, median } from '../lib/rounds.mjs'
import { PROXY_CORE, cpu, startNode } from '../lib/system.mjs'

const script = fileURLToPath(new URL('../targets/million.mjs', import.meta.url))
/** The second has most of its entries packed as the last does, and fits into the processor's caches. */
const SIZES = { 'a thousand': 1000, 'twenty thousand': 20_000, 'a million': 1_000_000 }
const BODY = 128

export default {
  order: 75,
  name: 'cache-million',
  title: 'A cache of a million small responses',
  text: 'Responses of 128 bytes with four fields, in full caches for a thousand, twenty thousand and a million of them. Memory beyond the fresh process and the bodies, by response. Hits of random ones among all that are stored: of the thousand all are objects, with the bytes of their answers ready; of the others nearly all are packed, and unpacked by each hit; twenty thousand fit into the processor’s caches and a million do not. Beside it, what it takes to read as much memory at random in as many steps, and do nothing else. Then a different path each time, so that each request stores one and pushes one out: the longest that the event loop stood still, the longest pause for garbage collection, and the longest time in which the store put one away and evicted others; of each the least of all rounds, as whatever else a machine does makes it only longer.',
  remarks: 'A hit costs 5 to 6 µs more where the entry is packed, with twenty thousand as with a million, where the code is the same and the memory is at hand or not: in this run the million came out below the twenty thousand, in the one before 2.7 µs above. Finding and unpacking an entry takes 1.8 of that (get and touch of a random one, without HTTP, least of five times 100,000). Another 1.6 are the head that Node writes for each, where the thousand have their bytes ready: without these, in a build that does not keep them, the thousand took 14.8 µs where they took 13.1 with, and the twenty thousand 17.5. What is left is garbage and the luck of a process, which in another such run made a difference of 2 µs between two that ran the same. So a hit within 15 % would have to be sent from its record without the making of an entry and without a head written by Node. From twenty thousand to a million, reading as much memory takes 0.7 µs more by itself, and finding and unpacking 1.0 more without HTTP. The longest pauses for garbage collection are as long with a thousand as with a million, so they come of the misses and not of how much is stored: by --trace-gc a collection of the young generation among misses leaves up to half of it in place. Two causes are gone: the eight hidden classes that V8 made for each miss (by --log-maps), which took its CPU time from 36.1 to 30.2 µs beside a forwarded request’s 24, and, since this table was made, the tables that V8 leaves behind of a Map in which much comes and goes, which kept half of all fetches until the whole heap was marked: on a machine half as fast, collections of the young generation took 9 ms each and 22 µs a miss, and take 1.5 and 3 now. The longest store with its evictions took 2.2 ms in the best round and 5.5 in the worst of that run, 0.6 and 9.2 in this one, garbage collected on the way included; a turn of the event loop may hold 64 misses, so it can stand still for longer than any of them. The worst turn of a purge of 200,000 by prefix took 9.8 ms of the thread’s CPU time when that was measured on another day.',
  async run ({ rounds, seconds, say }) {
    const targets = {}
    for (const [name, entries] of Object.entries(SIZES)) {
      const server = await startNode(PROXY_CORE, script, { entries }, ['--max-old-space-size=8192'])
      const url = `http://127.0.0.1:${server.port}`
      const get = async (path) => {
        const response = await fetch(`${url}${path}`)
        if (!response.ok) throw new Error(`${path}: ${await response.text()}`)
        return response.text()
      }
      const state = async (query = '') => JSON.parse(await get(`/state${query}`))
      await load(url, { seconds: 1, path: '/item/x' })
      await get('/item/0')
      const before = await state('?gc')
      await get('/fill')
      targets[name] = { server, url, entries, get, state, before, full: await state('?gc'), touch: JSON.parse(await get('/touch')).ns / 1000, us: [], miss: [], delay: [], pause: [], step: [] }
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
        const { misses } = await target.state()
        const us = await measure(target, { path: '/item/', distinct: target.entries, seed: round + 1 })
        const missed = (await target.state()).misses - misses
        // Some were pushed out by what was asked for before.
        if (missed > target.entries / 100) throw new Error(`${name}: ${missed} that were no hits`)
        // The first is for the JIT.
        if (round > 0) target.us.push(us)
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const target of Object.values(targets)) {
        await target.get('/watch')
        target.miss.push(await measure(target, { path: `/item/new-${round}-`, distinct: 10_000_000 }))
        const state = await target.state()
        for (const what of ['delay', 'pause', 'step']) target[what].push(state[what])
      }
    }
    // Of fewer it would be that of the process.
    const memory = ({ entries, before, full }) => entries > 1e5 ? [(full.heapUsed - before.heapUsed) / entries, (full.rss - before.rss) / entries - BODY] : ['–', '–']
    const rows = Object.entries(targets).map(([name, target]) => [
      name, ...memory(target), median(target.us), target.touch, median(target.miss), ...['delay', 'pause', 'step'].map((what) => Math.min(...target[what]))
    ])
    const [small, , big] = Object.values(targets)
    const { median: value, low, high } = compare(big.us, small.us)
    const beyond = rows[2][2]
    const stall = median(big.delay)
    // What stands still with a thousand, too, is the load's and the process's, and not caused by the million.
    const beside = compare(big.delay, small.delay).median
    const check = (what, text) => {
      const least = Math.min(...big[what])
      return { text: `a million: ${text} ≤ 20 ms`, value: least, low: least, high: Math.max(...big[what]), met: least <= 20 }
    }
    return {
      columns: ['cache for', 'heap bytes each', 'bytes each beyond the body', 'µs a hit', 'µs for its memory alone', 'µs a miss that evicts', 'longest stall ms', 'longest GC pause ms', 'longest store and eviction ms'],
      rows,
      checks: [
        { text: 'a million: ≤ 600 bytes each beyond the body', value: beyond, met: beyond <= 600 },
        { text: 'a million: a hit ≤ 1.15 × one of a thousand', value, low, high, met: value <= 1.15 },
        { text: 'a million: longest stall while evicting ≤ 20 ms, or ≤ 1.15 × that of a thousand', value: stall, low: Math.min(...big.delay), high: Math.max(...big.delay), met: stall <= 20 || beside <= 1.15 },
        check('pause', 'longest pause for garbage collection while evicting, least of the rounds,'),
        check('step', 'longest store with its evictions, least of the rounds,')
      ]
    }
  }
}
