import type { FastifyInstance } from 'fastify'
import { type Compressor, compressorOf } from './encoded.ts'
import type { Handler } from './flight/run-handler.ts'
import { Latency } from './latency.ts'
import type { RouteSettings } from './options.ts'

/** A route that the cache stands before. */
export class Route {
  readonly settings: RouteSettings
  readonly handler: Handler
  readonly server: FastifyInstance
  readonly latency: Latency = new Latency()
  readonly compressor: Compressor | undefined

  constructor (settings: RouteSettings, handler: Handler, server: FastifyInstance) {
    this.settings = settings
    this.handler = handler
    this.server = server
    this.compressor = compressorOf(server)
  }
}
