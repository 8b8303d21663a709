// Compiled by `npm run types`, never run: an app that has told the compiler its pools' names, in a program of its own, since
// the names hold for all of one.
import balancer, { balancerOptions, type PoolName, type PoolNamesOf } from '@headgate/balancer'
import { expectTypeOf } from 'expect-type'
import fastify from 'fastify'

const options = balancerOptions({
  pools: { web: ['http://a:1'], api: { upstreams: ['http://b:1'], policy: 'p2c' } },
  routes: [{ prefix: '/api', pool: 'api' }, { prefix: '/', rules: [{ pool: { web: 9, api: 1 }, fallback: ['api'] }] }]
})
type Names = PoolNamesOf<typeof options>

declare module '@headgate/balancer' {
  interface PoolNames extends Record<Names, true> {}
}

expectTypeOf<PoolName>().toEqualTypeOf<'web' | 'api'>()

const app = fastify()
await app.register(balancer, options)
app.get('/', (_request, reply) => reply.forward('web'))
app.balancer.pool('api').setWeight('x', 2)
app.balancer.dispatcher('api')
// @ts-expect-error: no such pool
app.get('/a', (_request, reply) => reply.forward('wbe'))
// @ts-expect-error: no such pool
app.balancer.pool('wbe')
// @ts-expect-error: no such pool
app.balancer.dispatcher('wbe')
// @ts-expect-error: no such pool
await app.register(balancer, { pools: { wbe: ['http://c:1'] } })
// @ts-expect-error: no such pool
await app.register(balancer, { pools: { web: ['http://c:1'] }, routes: [{ prefix: '/', pool: 'wbe' }] })
