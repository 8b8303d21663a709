import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { type Pool, systemClock } from '@headgate/core'
import { checkStream, type StreamOptions } from './options.ts'
import { refuseListener } from './refuse.ts'
import { Registration } from './registration.ts'
import { Stream } from './stream.ts'

export * from './errors.ts'
export * from './probes/index.ts'
export { streamSchema } from './options.ts'
export type * from './options.ts'
export type { Counters } from './counters.ts'
export type { Listener, Stream, StreamUpdate } from './stream.ts'
export type { SendProxyOptions } from './tcp/proxy-out.ts'
export type { TlsSource } from './tcp/termination.ts'
export type { MatchConditions, MatchFunction, RouteMatch, StreamInfo } from './tcp/routes.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The layer 4 listeners and their pools, while the app runs. */
    stream: Stream
  }
}

/** What a balancer in the same app has: pools that checks, metrics and the admin API look at. */
interface WithBalancer { readonly balancer: { readonly pools: Map<string, Pool> } }

/** Checks, metrics and the admin API find pools with the balancer; without one the pools are the stream's alone. */
function share (app: FastifyInstance, gone: readonly Pool[], pools: readonly Pool[]): void {
  if (!app.hasDecorator('balancer')) return
  const { balancer } = app as unknown as WithBalancer
  for (const pool of gone) balancer.pools.delete(pool.name)
  for (const pool of pools) balancer.pools.set(pool.name, pool)
}

/** Throws for names that pools of the balancer have: those that are not `own`. */
function checkNames (app: FastifyInstance, pools: readonly Pool[], own: readonly Pool[]): void {
  if (!app.hasDecorator('balancer')) return
  const { balancer } = app as unknown as WithBalancer
  for (const pool of pools) {
    const other = balancer.pools.get(pool.name)
    if (other !== undefined && other !== pool && !own.includes(other)) refuseListener(`pools.${pool.name}`, "is the name of one of the balancer's pools too; pool names are unique in an app", pool.name)
  }
}

/** The registrations of an app, by its stream: options can be changed where there is one. */
const registrations = new WeakMap<Stream, Registration[]>()

function newStream (): Stream {
  const stream: Stream = new Stream(async (options) => {
    const [only, ...others] = registrations.get(stream)!
    if (others.length > 0) refuseListener('options', 'cannot be changed where several registrations share an app', options)
    return only!.prepare(options)
  })
  registrations.set(stream, [])
  return stream
}

const plugin: FastifyPluginAsync<StreamOptions> = async (app: FastifyInstance, options) => {
  checkStream(options, 'options')
  if (!app.hasDecorator('stream')) app.decorate('stream', newStream())
  const environment = { clock: options.clock ?? systemClock, random: options.random ?? Math.random }
  const sharing = {
    check: (pools: readonly Pool[], own: readonly Pool[]) => { checkNames(app, pools, own) },
    share: (gone: readonly Pool[], pools: readonly Pool[]) => { share(app, gone, pools) }
  }
  const registration = new Registration(options, app.stream, environment, app.log, sharing)
  registrations.get(app.stream)!.push(registration)
  registration.share()
  app.addHook('onReady', async () => {
    // The balancer may have been registered after us.
    registration.share()
    await registration.start()
  })
  app.addHook('preClose', async () => { registration.stop() })
  app.addHook('onClose', () => registration.close())
}

/** The plugin: `await app.register(stream, { listeners })`. */
const stream: FastifyPluginAsync<StreamOptions> = fp(plugin, { name: '@headgate/stream', fastify: '5.x' })
export default stream
