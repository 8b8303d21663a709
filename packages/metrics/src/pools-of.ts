import type { Pool } from '@headgate/core'
import type { FastifyInstance } from 'fastify'

/** The pools of the app's balancer; `undefined` without one. */
export function poolsOf (app: FastifyInstance): ReadonlyMap<string, Pool> | undefined {
  return (app as { readonly balancer?: { readonly pools: ReadonlyMap<string, Pool> } }).balancer?.pools
}
