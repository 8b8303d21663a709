import { Load, seeded } from '@headgate/core'

const addresses = Array.from({ length: 4096 }, (_, k) => `10.${k >> 8}.${k & 255}.${k % 7}`)

/**
 * A policy at work without sockets: `n` upstreams with two requests in flight for each. `one(k)` ends a request picked at random and
 * picks for the next, which is the `k`th. `extra` picks are made before it, for other requests that then do not start.
 */
export function flight (policy, n, extra = 0) {
  let now = 0
  const clock = { now: () => now, wall: () => now, setTimeout () {}, clearTimeout () {} }
  const random = seeded(4)
  const selector = policy.create({ clock, random: seeded(9) })
  const members = Array.from({ length: n }, (_, slot) => ({ id: `upstream-${slot}`, slot, weight: 1, configuredWeight: 1, zone: undefined, location: undefined, load: new Load() }))
  selector.rebuild(members)
  const atOnce = 2 * n
  const flying = Array.from({ length: atOnce })
  const since = new Float64Array(atOnce)
  const context = { keyHash: 0, clientAddress: '10.1.2.3', clientLocation: undefined }
  const pick = (k) => {
    context.clientAddress = addresses[k & 4095]
    context.keyHash = (Math.imul(k, 0x9e3779b9) ^ k >>> 7) >>> 0
    return selector.select(context)
  }
  const one = (k) => {
    const slot = k < atOnce ? k : Math.floor(random() * atOnce)
    now += 10 / atOnce
    if (k >= atOnce) {
      flying[slot].load.finished(true, now - since[slot])
      selector.finished?.(flying[slot], now, since[slot], now - since[slot], true)
    }
    for (let i = extra; i > 0; i--) pick(k + i)
    const upstream = flying[slot] = pick(k)
    since[slot] = now
    upstream.load.started()
    selector.started?.(upstream, now)
  }
  return { selector, members, atOnce, one }
}
