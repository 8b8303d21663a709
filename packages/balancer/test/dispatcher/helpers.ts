import { type BalancerOptions, default as balancer } from '../../src/index.ts'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Dispatcher } from 'undici'
import { until } from '../helpers.ts'

type Test = { teardown (action: () => unknown): void }

/** An app that forwards nothing itself: its pools are for dispatchers. */
export async function pools (t: Test, given: BalancerOptions['pools'], options: Partial<BalancerOptions> = {}): Promise<FastifyInstance> {
  const app = Fastify() as FastifyInstance
  await app.register(balancer, { pools: given, ...options })
  await app.ready()
  t.teardown(() => app.close())
  return app
}

/** A dispatcher as handlers of both shapes meet it: as it is, and behind an interceptor, which turns undici's own into the new one. */
export const shapes: readonly [string, (dispatcher: Dispatcher) => Dispatcher][] = [
  ['handlers as undici gives them', (dispatcher) => dispatcher],
  ['handlers behind an interceptor', (dispatcher) => dispatcher.compose((dispatch) => (options, handler) => dispatch(options, handler))]
]

/** Waits until nothing is left of any request; a leak makes the test time out. */
export async function nothingLeft (app: FastifyInstance): Promise<void> {
  for (const pool of app.balancer.pools.values()) {
    await until(() => pool.inFlight === 0 && pool.queued === 0 && pool.upstreams.every(({ load }) => load.inFlight === 0))
  }
}
