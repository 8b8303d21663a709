// The dashboard and its API for operators, metrics for Prometheus, and a log line that says where each request went.
import basicAuth from '@fastify/basic-auth'
import admin from '@headgate/admin'
import balancer from '@headgate/balancer'
import metrics, { upstreamSerializer } from '@headgate/metrics'
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'

const userOf = (request: FastifyRequest): string => Buffer.from(request.headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString().split(':')[0]!

export async function build (options: { upstreams: string[]; operators: Record<string, string>; log: (line: object) => void }): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(basicAuth, {
    authenticate: { realm: 'Headgate' },
    validate: async (user, password) => { if (options.operators[user] !== password) throw new Error('nobody of that name and password') }
  })
  const guard = app.basicAuth.bind(app)
  await app.register(metrics, { route: { guard } })
  await app.register(admin, { guard, actor: userOf })
  await app.register(balancer, { pools: { web: options.upstreams }, routes: [{ prefix: '/', pool: 'web', serverTiming: true }] })
  app.addHook('onResponse', async (request, reply) => {
    const upstream = upstreamSerializer(request)
    if (upstream !== undefined) options.log({ url: request.url, status: reply.statusCode, ...upstream })
  })
  return app
}
