// Exposes the built policies to a simulator of proxies and upstreams: `algorithms = { name: (env) => balancer }`, where
// env = { n, members, weights, rng, now } and a balancer has pick, started, finished, join, leave.
import { Load, policies } from '@headgate/core'

const adapt = (policy) => (env) => {
  const clock = { now: env.now, wall: env.now, setTimeout () {}, clearTimeout () {} }
  const selector = policy.create({ clock, random: env.rng })
  const candidates = Array.from({ length: env.n }, (_, slot) =>
    ({ id: `upstream-${slot}`, slot, index: slot, weight: env.weights[slot], configuredWeight: env.weights[slot], zone: undefined, location: undefined, load: new Load() }))
  const context = { keyHash: 0, clientAddress: '', clientLocation: undefined }
  const rebuild = () => selector.rebuild(env.members.map((i) => candidates[i]))
  rebuild()
  return {
    pick ({ key }) {
      context.keyHash = key ?? 0
      return selector.select(context).index
    },
    started (i, now) {
      candidates[i].load.started()
      selector.started?.(candidates[i], now)
    },
    finished (i, now, { latency, ok }) {
      candidates[i].load.finished(ok, latency)
      selector.finished?.(candidates[i], now, now - latency, latency, ok)
    },
    join (i) {
      selector.joined?.(candidates[i])
      rebuild()
    },
    leave: rebuild
  }
}

const only = process.env.POLICIES?.split(',')
export const algorithms = Object.fromEntries(Object.entries(policies)
  .filter(([name]) => name !== 'nearest' && !name.includes('hash') && (only === undefined || only.includes(name)))
  .map(([name, policy]) => [name, adapt(policy)]))
