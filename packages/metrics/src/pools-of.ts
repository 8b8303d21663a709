import type { Pool } from '@headgate/core'
import type { FastifyInstance } from 'fastify'

interface WithPools { readonly pools: ReadonlyMap<string, Pool> }

/** The pools of the app's balancer, in which those of layer 4 are too; without a balancer layer 4's alone; `undefined` without either. */
export function poolsOf (app: FastifyInstance): ReadonlyMap<string, Pool> | undefined {
  const { balancer, stream } = app as { readonly balancer?: WithPools; readonly stream?: WithPools }
  return (balancer ?? stream)?.pools
}

/** What the plugins beside the balancer know of themselves, where they are in the same app and can be seen from the metrics' place. */
export interface Neighbours {
  /** Connections or sessions of each layer 4 listener that are there now. */
  readonly stream?: { readonly listeners: ReadonlyMap<string, { readonly protocol: string; readonly counters: { readonly active: number } }> }
  readonly cache?: { readonly stats: { readonly entries: number; readonly bytes: number } }
}

export function neighboursOf (app: FastifyInstance): Neighbours {
  return app as Neighbours
}
