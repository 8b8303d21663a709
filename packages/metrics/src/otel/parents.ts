import { type Channel, channel } from 'node:diagnostics_channel'
import { type Context, ROOT_CONTEXT, context, propagation, trace } from '@opentelemetry/api'
import type { FastifyInstance } from 'fastify'

/** As much of a request as is read here; `@fastify/otel` adds `opentelemetry`. */
interface Traced {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly server: FastifyInstance
  opentelemetry? (): { readonly context: Context | null }
}

/** Fastify's own channel: a handler is about to be called, within the request's asynchronous context. */
const handlers: Channel = channel('tracing:fastify.request.handler:start')

/**
 * The context that a request's attempts belong to. The active one cannot be asked for when an attempt is made: the second is made
 * in the turn of a pooled connection, and one that waited in that of the request which made room.
 */
export class Parents {
  readonly #contexts = new WeakMap<object, Context>()

  start (): void {
    handlers.subscribe(this.#onHandler)
  }

  stop (): void {
    handlers.unsubscribe(this.#onHandler)
  }

  /**
   * `@fastify/otel`'s where it is there, else what was active around the handler, else what the client sent. A request of the app's
   * own, which undici was asked for, belongs to what is active: it is announced in the scope of its caller.
   */
  of (request: object): Context {
    const traced = request as Traced
    const own = traced.opentelemetry?.().context
    if (own !== null && own !== undefined) return own
    let found = this.#contexts.get(request)
    if (found === undefined) this.#contexts.set(request, found = 'raw' in request ? propagation.extract(ROOT_CONTEXT, traced.headers) : context.active())
    return found
  }

  readonly #onHandler = (message: unknown): void => {
    const { request } = message as { readonly request: Traced }
    const active = context.active()
    if (trace.getSpan(active) !== undefined) this.#contexts.set(request, active)
  }
}
