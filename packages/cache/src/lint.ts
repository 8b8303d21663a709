import type { FastifyInstance } from 'fastify'

/** What the cache knows of how an app was put together. */
export interface Composition {
  /** The balancer was there before. */
  readonly late: boolean
  /** Routes that are cached. */
  readonly routes: number
}

/** What an app's composition would break, by the names of the rules; each with what to do. */
export function lint (app: FastifyInstance, { late, routes }: Composition): { readonly rule: string; readonly message: string }[] {
  const found: { rule: string; message: string }[] = []
  if (late) found.push({ rule: 'cache-before-balancer', message: 'the balancer was registered before the cache, so its routes are not cached: register @headgate/cache first' })
  else if (routes === 0) found.push({ rule: 'cache-before-routes', message: 'no route was added after the cache, so nothing is cached: register @headgate/cache before the routes' })
  if (app.hasPlugin('@fastify/compress')) {
    found.push({ rule: 'one-compressor', message: '@fastify/compress encodes every hit anew: @headgate/compress lets the cache keep what is encoded' })
  }
  return found
}
