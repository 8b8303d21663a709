// gRPC: replicas behind one address, by HTTP/2 on both sides. Calls that a replica could not take (UNAVAILABLE) go to another one,
// deadlines of clients hold for the whole of a call, and streams may be quiet for an hour.
import balancer, { http2Limits } from '@headgate/balancer'
import health from '@headgate/health'
import fastify, { type FastifyInstance } from 'fastify'

export interface Options {
  /** Replicas: `http://host:port`, HTTP/2 without TLS. */
  upstreams: string[]
}

export async function build ({ upstreams }: Options): Promise<FastifyInstance> {
  // To Fastify's types an app with HTTP/2 is another one; plugins are written for the usual one, and do for both.
  const app = fastify({ http2: true }) as unknown as FastifyInstance
  await app.register(http2Limits, { maxConcurrentStreams: 1000 })
  await app.register(balancer, {
    pools: { rpc: { upstreams, protocol: 'h2c', policy: 'least-connections' } },
    routes: [{ prefix: '/', pool: 'rpc', headersTimeout: 3_600_000, idleTimeout: 3_600_000, retry: { grpcStatuses: [14] } }]
  })
  // Replicas say by gRPC's own health protocol whether they serve.
  await app.register(health, { check: { type: 'grpc', interval: 5000 } })
  return app
}
