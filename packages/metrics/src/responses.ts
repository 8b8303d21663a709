import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'

/** What Fastify keeps of an app, or of a scope in it: its hooks by their names, and the scopes in it. */
interface Kept {
  readonly hooks: { readonly onRequest?: unknown }
  readonly scopes: unknown
}

function keptOf (app: object): Kept | undefined {
  const symbols = Object.getOwnPropertySymbols(app)
  const of = (name: string): unknown => (app as Record<symbol, unknown>)[symbols.find(({ description }) => description === name)!]
  const hooks = of('fastify.hooks')
  return typeof hooks === 'object' && hooks !== null ? { hooks, scopes: of('fastify.children') } : undefined
}

/** Hooks of this file's: they answer nothing. */
const counting = new WeakSet<object>()

/**
 * Is there no `onRequest` hook yet that may answer, in the app and in what was registered in it? Fastify does not say: where its own lists
 * are not found the answer is no.
 */
function comesFirst (app: object): boolean {
  const kept = keptOf(app)
  if (kept === undefined || !Array.isArray(kept.hooks.onRequest) || !Array.isArray(kept.scopes)) return false
  return kept.hooks.onRequest.every((hook: object) => counting.has(hook)) && kept.scopes.every(comesFirst)
}

/**
 * Calls `take` for each response of the app that went out, with the milliseconds from the request to its end. To be called by a plugin:
 * hooks that were added before it are in Fastify's lists by then.
 *
 * An `onResponse` hook does that, but for such a hook Fastify adds two listeners to each response and removes them, which costs more than
 * all that is counted. One of our own is enough, added by an `onRequest` hook: if it is the first one, since those behind a hook that
 * answers are not called.
 */
export function onResponses (app: FastifyInstance, take: (request: FastifyRequest, reply: FastifyReply, duration: number) => void): void {
  if (!comesFirst(app)) {
    app.addHook('onResponse', (request, reply, done) => {
      take(request, reply, reply.elapsedTime)
      done()
    })
    return
  }
  const hook: onRequestHookHandler = (request, reply, done) => {
    const startedAt = performance.now()
    let finished = false
    reply.raw.on('finish', () => {
      if (finished) return
      finished = true
      take(request, reply, performance.now() - startedAt)
    })
    done()
  }
  counting.add(hook)
  app.addHook('onRequest', hook)
}
