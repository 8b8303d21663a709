import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import '@headgate/balancer'
import type { AffinityOptions } from './kinds/index.ts'
import { checkSticky, refuseSticky, type StickyOptions } from './options.ts'
import { StickyRules } from './rules.ts'
import { StickyRequest } from './sticky-request.ts'

export * from './errors.ts'
export { MemoryStore } from './memory-store.ts'
export { ReplicatedStore, type ReplicatedStoreOptions, type StickSharing } from './replicated-store.ts'
export type { CommonOptions } from './contract.ts'
export type { AffinityOptions, KindName } from './kinds/index.ts'
export { affinityUnits, checkSticky, stickyUnits } from './options.ts'
export type { SharedOptions, StickyOptions, TableOptions } from './options.ts'
export type { MaybePromise, StickEntry, StickStore } from './store.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Session affinity for this route, instead of what the plugin's options say; `false`: none. */
    sticky?: AffinityOptions | false
  }
}

type Serialize = FastifyInstance['serializeCookie']

/**
 * `@fastify/cookie`'s serialiser: the app's own, or else one from a scope without routes, so that its `onSend` hook, which would
 * take responses off the fast path, reaches nobody.
 */
async function serializer (app: FastifyInstance): Promise<Serialize> {
  if (app.hasDecorator('serializeCookie')) return app.serializeCookie
  let serialize: Serialize
  await app.register(async (scope) => {
    await scope.register(cookie, { hook: false })
    serialize = scope.serializeCookie
  })
  return serialize!
}

const plugin: FastifyPluginAsync<StickyOptions> = async (app, options) => {
  checkSticky(options)
  const { balancer } = app
  const rules = new StickyRules(options, balancer.routes.map(({ prefix }) => prefix).concat('/'), app.log, await serializer(app))
  if (options.pools === undefined || [...balancer.pools.keys()].some((name) => options.pools?.[name] === undefined)) rules.arm(options)
  for (const rule of Object.values(options.pools ?? {})) if (rule !== false) rules.arm(rule)
  for (const [index, { config }] of balancer.routes.entries()) {
    if (config?.sticky !== undefined && config.sticky !== false) rules.admit(config.sticky, `routes[${index}].config.sticky`)
  }
  app.addHook('onRoute', ({ url, config }) => {
    if (config?.sticky !== undefined && config.sticky !== false) rules.admit(config.sticky, `config.sticky of route ${url}`)
  })
  app.addHook('onRequest', (request, reply, done) => {
    request.affinity = new StickyRequest(rules, request, reply)
    done()
  })
  app.addHook('onReady', async () => {
    await options.table?.store?.ready
    for (const name of Object.keys(options.pools ?? {})) {
      if (!balancer.pools.has(name)) refuseSticky(`options.pools.${name}`, `must be one of the pools ${[...balancer.pools.keys()].join(', ')}`, name)
    }
    // Made now, so that upstreams never see a cookie of another pool, and so that who joins from now on is known as a newcomer.
    for (const [name, pool] of balancer.pools) {
      const rule = options.pools?.[name] ?? options
      if (rule !== false) rules.in(pool, rule)
    }
  })
  app.addHook('onClose', async () => { rules.close() })
}

/** The plugin: `await app.register(stickySession, { keys })`, after the balancer. */
const stickySession: FastifyPluginAsync<StickyOptions> = fp(plugin, {
  name: '@headgate/sticky-session', fastify: '5.x', dependencies: ['@headgate/balancer']
})
export default stickySession
