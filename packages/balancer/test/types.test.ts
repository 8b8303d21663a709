import type { Location, Pool, Upstream } from '@headgate/core'
import { expectTypeOf } from 'expect-type'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import balancer, { balancerOptions, type BalancerOptions, type ForwardOptions, type PoolName, type PoolNamesOf } from '../src/index.ts'

// What counts here is that this file compiles: tsconfig.test.json does that.
t.test('types', async (t) => {
  const options = balancerOptions({
    pools: {
      web: ['http://127.0.0.1:1'],
      api: {
        upstreams: [{ url: 'http://127.0.0.1:2', location: { latitude: 1, longitude: 2 } }],
        policy: 'nearest',
        hashOn: (request) => {
          expectTypeOf(request).toEqualTypeOf<FastifyRequest>()
          return request.ip
        },
        clientLocation: (request): Location | undefined => request.ip === '' ? undefined : { latitude: 0, longitude: 0 }
      }
    },
    routes: [
      { prefix: '/api', pool: 'api' },
      { prefix: '/', rules: [{ match: (request) => request.headers['x-a'] === 'b', pool: 'api' }, { pool: { web: 95, api: 5 }, fallback: ['web'] }] }
    ]
  })
  expectTypeOf(options).toEqualTypeOf<BalancerOptions<'web' | 'api'>>()
  expectTypeOf<PoolNamesOf<typeof options>>().toEqualTypeOf<'web' | 'api'>()

  const pools = { web: ['http://127.0.0.1:1'] }
  // @ts-expect-error: no such pool
  balancerOptions({ pools, routes: [{ prefix: '/', pool: 'wbe' }] })
  // @ts-expect-error: no such pool in a rule
  balancerOptions({ pools, routes: [{ prefix: '/', rules: [{ pool: 'wbe' }] }] })
  // @ts-expect-error: no such pool in a split
  balancerOptions({ pools, routes: [{ prefix: '/', rules: [{ pool: { web: 1, wbe: 1 } }] }] })
  // @ts-expect-error: no such pool as a fallback
  balancerOptions({ pools, routes: [{ prefix: '/', rules: [{ pool: 'web', fallback: ['wbe'] }] }] })
  // @ts-expect-error: no such policy
  balancerOptions({ pools: { web: { upstreams: [], policy: 'best' } } })
  // @ts-expect-error: no such option
  balancerOptions({ pools, routes: [{ prefix: '/', pool: 'web', rewrite: '/' }] })

  // Without names of its own, an app may call its pools anything.
  expectTypeOf<PoolName>().toEqualTypeOf<string>()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(balancer, options)
  expectTypeOf(app.balancer.pool).parameters.toEqualTypeOf<[name: string]>()
  expectTypeOf(app.balancer.pool).returns.toEqualTypeOf<Pool>()
  expectTypeOf<FastifyReply['forward']>().parameter(0).toEqualTypeOf<string>()
  expectTypeOf<FastifyReply['forward']>().parameter(1).toEqualTypeOf<ForwardOptions | undefined>()
  expectTypeOf<FastifyRequest['upstream']>().toEqualTypeOf<Upstream | null>()
  app.get('/x', { config: { forward: { rewritePrefix: '/' } } }, (_request, reply) => reply.forward('web'))
  t.same([...app.balancer.pools.keys()], ['web', 'api'])
})
