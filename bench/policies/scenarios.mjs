// Scenarios for simulator.mjs. Names: trouble, upstreams, m and proxies, utilisation in percent.
//   upstreams, proxies; load: utilisation of what is there at the start; work: mean milliseconds of a request, and its `kind`;
//   workers of an upstream, or several that alternate, and whether weights say so (`weighted`); requests: how many.
//   slow: this part of the upstreams is slower by a factor; spread: standard deviation of the logarithm of speeds;
//   far: this part is so many milliseconds away; bursts: so many times the arrivals for `on` of `on + off` ms on average;
//   neighbours: each upstream's speed changes about every so many milliseconds, to a level with that probability;
//   events: at that part of the run upstream `who` (or all) becomes slow by a factor, fails with a probability, hangs, heals, leaves, comes back, or
//   some join; cold: slower by a factor at first, for so many milliseconds. arrivals: times those at the start.

const range = (count) => Array.from({ length: count }, (_, k) => k)
const three = (at, change) => [1, 2, 3].map((who) => ({ at, who, ...change }))
const cold = (by, ms) => ({ by, ms })
const LEVELS = [[0.6, 1], [0.25, 0.6], [0.15, 0.3]]

export const scenarios = [
  { name: 'alike-3-m1-50', upstreams: 3, load: 0.5, workers: 1 },
  { name: 'alike-10-m1-80', upstreams: 10, load: 0.8 },
  { name: 'alike-10-m4-90', upstreams: 10, proxies: 4, load: 0.9, requests: 250_000 },
  { name: 'alike-10-m1-95', upstreams: 10, load: 0.95, workers: 1, requests: 300_000 },
  { name: 'alike-100-m4-90', upstreams: 100, proxies: 4, load: 0.9, work: 20, requests: 300_000 },
  { name: 'alike-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 50, requests: 300_000 },
  { name: 'alike-1000-m4-80', upstreams: 1000, proxies: 4, load: 0.8, work: 100, requests: 300_000 },
  { name: 'heavy-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, kind: 'heavy', requests: 250_000 },
  { name: 'bimodal-100-m4-80', upstreams: 100, proxies: 4, load: 0.8, kind: 'bimodal', work: 20, requests: 300_000 },
  { name: 'bursts-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, bursts: { times: 2.5, on: 100, off: 400 } },
  { name: 'bursts-limit-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, bursts: { times: 1.8, on: 100, off: 400 }, queueLimit: 8 },
  { name: 'slow-10-m1-70', upstreams: 10, load: 0.7, slow: { part: 0.1, by: 5 } },
  { name: 'slow-100-m4-50', upstreams: 100, proxies: 4, load: 0.5, work: 20, slow: { part: 0.1, by: 5 }, requests: 300_000 },
  { name: 'slow-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 20, slow: { part: 0.1, by: 5 }, requests: 300_000 },
  { name: 'unlike-10-m4-80', upstreams: 10, proxies: 4, load: 0.8, workers: [2, 4, 8], spread: 0.4 },
  { name: 'weights-10-m4-80', upstreams: 10, proxies: 4, load: 0.8, workers: [2, 4, 8], weighted: true },
  { name: 'zones-10-m4-60', upstreams: 10, proxies: 4, load: 0.6, far: { part: 0.5, ms: 10 } },
  { name: 'degrade-3-m1-50', upstreams: 3, load: 0.5, events: [{ at: 0.4, who: 1, slow: 20 }] },
  { name: 'degrade-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, events: [{ at: 0.4, who: 1, slow: 20 }, { at: 0.7, who: 1, heal: true }] },
  { name: 'degrade-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 20, requests: 300_000, events: [{ at: 0.4, who: 1, slow: 20 }] },
  { name: 'fails-3-m1-50', upstreams: 3, load: 0.5, events: [{ at: 0.4, who: 1, fail: 1 }] },
  { name: 'fails-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, events: [{ at: 0.3, who: 1, fail: 1 }, { at: 0.6, who: 1, heal: true }] },
  { name: 'fails-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 20, requests: 300_000, events: [{ at: 0.4, who: 1, fail: 1 }] },
  { name: 'fails30-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, events: [{ at: 0.3, who: 1, fail: 0.3 }] },
  { name: 'fails1-all-10-m4-80', upstreams: 10, proxies: 4, load: 0.8, events: [{ at: 0.05, fail: 0.01 }] },
  { name: 'hangs-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, events: [{ at: 0.4, who: 1, hang: true }, { at: 0.6, who: 1, heal: true }] },
  { name: 'joins-10-m4-80', upstreams: 10, proxies: 4, load: 0.8, events: [{ at: 0.4, join: 1, cold: cold(10, 10_000) }] },
  { name: 'joins-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 50, requests: 300_000, events: [{ at: 0.3, join: 3, cold: cold(10, 5000) }] },
  {
    name: 'rolling-10-m4-60', upstreams: 10, proxies: 4, load: 0.6, requests: 200_000,
    events: range(4).flatMap((k) => [
      { at: 0.2 + 0.2 * k, who: 2 * k + 1, leave: true }, { at: 0.25 + 0.2 * k, who: 2 * k + 1, back: true, cold: cold(5, 5000) }])
  },
  { name: 'neighbours-10-m4-70', upstreams: 10, proxies: 4, load: 0.7, requests: 250_000, neighbours: { every: 4000, levels: LEVELS } },
  { name: 'neighbours-100-m32-80', upstreams: 100, proxies: 32, load: 0.8, work: 50, requests: 300_000, neighbours: { every: 3000, levels: LEVELS } },
  {
    name: 'mixed-24-m8-75', upstreams: 24, proxies: 8, load: 0.75, work: 15, workers: [3, 6], kind: 'lognormal', requests: 300_000,
    neighbours: { every: 6000, levels: [[0.7, 1], [0.2, 0.5], [0.1, 0.25]] },
    events: [{ at: 0.35, who: 5, fail: 1 }, { at: 0.55, who: 5, heal: true }, { at: 0.7, join: 2, cold: cold(8, 6000) }]
  },
  {
    name: 'mixed-6-m2-60', upstreams: 6, proxies: 2, load: 0.6, work: 30, workers: 8, kind: 'bimodal', requests: 200_000,
    bursts: { times: 1.7, on: 150, off: 450 },
    events: [{ at: 0.3, who: 2, slow: 12 }, { at: 0.6, who: 2, heal: true }, { at: 0.75, who: 4, fail: 0.15 }]
  },
  { name: 'mixed-250-m16-85', upstreams: 250, proxies: 16, load: 0.85, work: 60, kind: 'heavy', requests: 400_000, spread: 0.35, far: { part: 0.3, ms: 4 } },
  {
    name: 'joiners-needed-10-m4', upstreams: 10, proxies: 4, load: 0.75, requests: 250_000,
    events: [{ at: 0.2, join: 4, cold: cold(8, 5000) }, { at: 0.65, arrivals: 1.3 }]
  },
  {
    name: 'joiners-needed-60-m16', upstreams: 60, proxies: 16, load: 0.8, work: 50, requests: 300_000,
    events: [{ at: 0.2, join: 15, cold: cold(8, 5000) }, { at: 0.6, arrivals: 1.22 }]
  },
  {
    name: 'healed-needed-10-m4', upstreams: 10, proxies: 4, load: 0.5, requests: 250_000,
    events: [...three(0.12, { slow: 20 }), ...three(0.35, { heal: true }), { at: 0.7, arrivals: 1.6 }]
  },
  {
    name: 'unfailed-needed-10-m4', upstreams: 10, proxies: 4, load: 0.5, requests: 250_000,
    events: [...three(0.12, { fail: 1 }), ...three(0.35, { heal: true }), { at: 0.7, arrivals: 1.6 }]
  }
]
