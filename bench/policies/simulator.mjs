// Requests, proxies and upstreams without sockets, on a simulated clock in milliseconds.
// Proxies know only what they saw themselves. Upstreams have workers and one queue, first come, first served. What a request asks for, when it
// comes, through which proxy and over which network depends on the seed alone: every policy is given the same requests.
import { Load, mix32, seeded } from '@headgate/core'

const exponential = (random) => -Math.log(1 - random())

/** Work of one request by kind; the mean is 1. */
const WORK = {
  exponential,
  // Nine of ten short, one eleven times longer.
  bimodal: (random) => random() < 0.9 ? 0.5 : 5.5,
  // Pareto with shape 1.5, cut at 1,000 times the shortest, whose share of the mean is this.
  heavy: (random) => (1 - random() * (1 - 1000 ** -1.5)) ** (-1 / 1.5) / (3 * (1 - 1000 ** -0.5) / (1 - 1000 ** -1.5)),
  lognormal: (random) => Math.exp(Math.sqrt(2 * exponential(random)) * Math.cos(2 * Math.PI * random()) - 0.5)
}

/** What is to happen when, the earliest first: a binary heap. */
class Agenda {
  #times = []
  #calls = []

  get empty () { return this.#times.length === 0 }
  get next () { return this.#times[0] }

  add (time, call) {
    let at = this.#times.length
    for (let above; at > 0 && this.#times[above = (at - 1) >> 1] > time; at = above) this.#put(at, this.#times[above], this.#calls[above])
    this.#put(at, time, call)
  }

  take () {
    const first = this.#calls[0]
    const time = this.#times.pop()
    const call = this.#calls.pop()
    const count = this.#times.length
    if (count === 0) return first
    let at = 0
    for (let below = 1; below < count; below = 2 * at + 1) {
      if (below + 1 < count && this.#times[below + 1] < this.#times[below]) below++
      if (this.#times[below] >= time) break
      this.#put(at, this.#times[below], this.#calls[below])
      at = below
    }
    this.#put(at, time, call)
    return first
  }

  #put (at, time, call) {
    this.#times[at] = time
    this.#calls[at] = call
  }
}

class Upstream {
  speed = 1
  factor = 1
  failing = 0
  hangs = false
  busy = 0
  queue = []
  /** Cold since when, and how many times slower at first, for how long that takes to pass. */
  cold

  constructor (index, workers, extra) {
    this.index = index
    this.workers = workers
    this.extra = extra
  }

  /** Work done per millisecond and worker. */
  rate (now) {
    const { cold } = this
    if (cold === undefined) return this.speed * this.factor
    const left = 1 - (now - cold.since) / cold.ms
    return left > 0 ? this.speed * this.factor / (1 + (cold.by - 1) * left) : this.speed * this.factor
  }
}

/** One proxy: the policy at work, and its own view of the upstreams. */
class Proxy {
  #context = { keyHash: 0, clientAddress: '', clientLocation: undefined }
  #ready

  constructor (policy, clock, random, upstreams, weights, members) {
    this.selector = policy.create({ clock, random })
    this.candidates = upstreams.map(({ index }) => ({
      id: `upstream-${index}`, slot: index, weight: weights[index], configuredWeight: weights[index], zone: undefined, location: undefined, load: new Load()
    }))
    this.rebuild(members)
  }

  rebuild (members) {
    this.#ready = [...members].map((index) => this.candidates[index])
    this.selector.rebuild(this.#ready)
  }

  pick (key, now) {
    this.#context.keyHash = key
    this.#context.clientAddress = `10.0.${key & 15}.${key >>> 24}`
    const candidate = this.selector.select(this.#context)
    candidate.load.started()
    this.selector.started?.(candidate, now)
    return candidate
  }

  finished (candidate, now, since, ok) {
    candidate.load.finished(ok, now - since)
    this.selector.finished?.(candidate, now, since, now - since, ok)
  }
}

/**
 * Runs a scenario (see scenarios.mjs) under `policy`. Returns the 99th percentile of the answers' latency in milliseconds, and the share of
 * requests that failed; both leave out the first tenth of the run.
 */
export function simulate (scenario, policy, seed) {
  const {
    upstreams: size, proxies: proxyCount = 1, load, work = 10, kind = 'exponential', workers = 4, requests = 150_000, weighted = false,
    slow, spread = 0, far, bursts, neighbours, events = [], queueLimit = Infinity, timeout = 1000, network = 0.5
  } = scenario
  const stream = (n) => seeded(mix32(seed * 64 + n))
  const [arrivals, demands, wires, speeds] = [stream(1), stream(2), stream(3), stream(4)]
  const total = size + events.reduce((sum, { join = 0 }) => sum + join, 0)
  const upstreams = Array.from({ length: total }, (_, k) =>
    new Upstream(k, Array.isArray(workers) ? workers[k % workers.length] : workers, far !== undefined && k < size * far.part ? far.ms : 0))
  for (const upstream of upstreams.slice(0, size)) {
    if (slow !== undefined && upstream.index < Math.round(size * slow.part)) upstream.speed = 1 / slow.by
    if (spread > 0) upstream.speed = Math.exp(spread * Math.sqrt(2 * exponential(speeds)) * Math.cos(2 * Math.PI * speeds()))
  }
  const meanLevel = neighbours?.levels.reduce((sum, [part, level]) => sum + part * level, 0) ?? 1
  const capacity = upstreams.slice(0, size).reduce((sum, { workers, speed }) => sum + workers * speed * meanLevel, 0)
  const perMs = load * capacity / work
  const changes = events.filter(({ arrivals }) => arrivals !== undefined)
  let meanRate = 1
  for (const { at, arrivals } of changes) meanRate += (1 - at) * (arrivals - 1)
  const duration = requests / (perMs * meanRate)
  const warm = duration * 0.1

  let now = 0
  let rate = 1
  const clock = { now: () => now, wall: () => now, setTimeout () {}, clearTimeout () {} }
  const agenda = new Agenda()
  const members = new Set(Array.from({ length: size }, (_, k) => k))
  const weights = upstreams.map(({ workers, speed }) => weighted ? workers * speed : 1)
  const proxies = Array.from({ length: proxyCount }, (_, k) => new Proxy(policy, clock, stream(8 + k), upstreams, weights, members))
  const latencies = new Float64Array(requests)
  let answered = 0
  let failed = 0
  const wire = () => network / 2 * (0.7 + 0.3 * exponential(wires))

  const join = (index, cold) => {
    if (cold !== undefined) upstreams[index].cold = { ...cold, since: now }
    members.add(index)
    for (const proxy of proxies) {
      proxy.selector.joined?.(proxy.candidates[index])
      proxy.rebuild(members)
    }
  }
  let next = size
  for (const event of events) {
    agenda.add(event.at * duration, () => {
      const upstream = upstreams[event.who]
      if (event.slow !== undefined) upstream.factor = 1 / event.slow
      if (event.fail !== undefined) for (const one of upstream === undefined ? upstreams : [upstream]) one.failing = event.fail
      if (event.hang) upstream.hangs = true
      if (event.heal) Object.assign(upstream, { factor: 1, failing: 0, hangs: false })
      if (event.arrivals !== undefined) rate = event.arrivals
      if (event.leave) {
        members.delete(event.who)
        for (const proxy of proxies) proxy.rebuild(members)
      }
      if (event.back) join(event.who, event.cold)
      for (let k = 0; k < (event.join ?? 0); k++) join(next++, event.cold)
    })
  }
  if (neighbours !== undefined) {
    for (const upstream of upstreams) {
      const random = stream(100 + upstream.index)
      const change = () => {
        let chance = random()
        upstream.factor = (neighbours.levels.find(([part]) => (chance -= part) < 0) ?? neighbours.levels.at(-1))[1]
        const until = now + exponential(random) * neighbours.every
        if (until < duration) agenda.add(until, change)
      }
      change()
    }
  }

  const reply = (request, ok) => {
    agenda.add(now + request.back, () => {
      request.proxy.finished(request.candidate, now, request.since, ok)
      if (request.since < warm) return
      if (ok) latencies[answered++] = now - request.since
      else failed++
    })
  }
  const work1 = (upstream, request) => {
    upstream.busy++
    agenda.add(now + request.demand / upstream.rate(now), () => {
      upstream.busy--
      const waiting = upstream.queue.shift()
      if (waiting !== undefined) work1(upstream, waiting)
      reply(request, true)
    })
  }
  const reach = (upstream, request) => {
    if (upstream.hangs) {
      request.back = request.since + timeout - now
      reply(request, false)
    } else if (request.luck < upstream.failing) {
      request.back += 0.2
      reply(request, false)
    } else if (upstream.busy < upstream.workers) work1(upstream, request)
    else if (upstream.queue.length >= queueLimit) reply(request, false)
    else upstream.queue.push(request)
  }

  // Bursts: two states, with the same arrivals on average.
  let bursting = false
  let until = 0
  const calm = bursts === undefined ? 1 : Math.max(0, 1 - (bursts.times - 1) * bursts.on / bursts.off)
  const arrival = () => {
    let time = now
    for (;;) {
      if (bursts !== undefined && time >= until) {
        bursting = !bursting
        until = time + exponential(arrivals) * (bursting ? bursts.on : bursts.off)
      }
      const wait = exponential(arrivals) / (perMs * rate * (bursts === undefined ? 1 : bursting ? bursts.times : calm))
      if (bursts === undefined || time + wait <= until) return time + wait
      time = until
    }
  }
  let issued = 0
  const arrive = () => {
    const proxy = proxies[Math.floor(arrivals() * proxyCount)]
    const request = { proxy, since: now, demand: WORK[kind](demands) * work, luck: demands(), back: wire(), candidate: undefined }
    const out = wire()
    request.candidate = proxy.pick(Math.floor(demands() * 2 ** 32), now)
    const upstream = upstreams[request.candidate.slot]
    request.back += upstream.extra / 2
    agenda.add(now + out + upstream.extra / 2, () => reach(upstream, request))
    if (++issued < requests) agenda.add(arrival(), arrive)
  }
  agenda.add(arrival(), arrive)
  while (!agenda.empty) {
    now = agenda.next
    agenda.take()()
  }
  latencies.subarray(0, answered).sort()
  return { p99: latencies[Math.floor(0.99 * answered)], failed: failed / (answered + failed) }
}
