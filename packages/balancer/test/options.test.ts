import Fastify from 'fastify'
import t from 'tap'
import balancer, { type BalancerOptions } from '../src/index.ts'

const ok = 'http://127.0.0.1:1'
const cases: [name: string, options: unknown, code: string, message: RegExp][] = [
  ['no pools', {}, 'HG_POOL_INVALID_OPTION', /options\.pools: is required/],
  ['unknown option', { pools: { web: [ok] }, nope: 1 }, 'HG_POOL_INVALID_OPTION', /options\.nope: unknown option.*got 1/],
  ['empty pool', { pools: { web: [] } }, 'HG_POOL_INVALID_OPTION', /options\.pools\.web\.upstreams: must name at least one/],
  ['malformed url', { pools: { web: ['nonsense'] } }, 'HG_POOL_INVALID_OPTION', /options\.pools\.web\.upstreams\[0\].*got 'nonsense'/],
  ['url with a path', { pools: { web: [`${ok}/x`] } }, 'HG_POOL_INVALID_OPTION', /rewritePrefix/],
  ['credentials', { pools: { web: ['http://u:p@h'] } }, 'HG_POOL_INVALID_OPTION', /credentials/],
  ['duplicate', { pools: { web: [ok, `${ok}/`] } }, 'HG_UPSTREAM_DUPLICATE', /upstreams\[1\]/],
  ['weight', { pools: { web: [`${ok};weight=70000`] } }, 'HG_POOL_INVALID_OPTION', /weight: must be <= 65535; got 70000/],
  ['negative weight', { pools: { web: [{ url: ok, weight: -1 }] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]\.weight: must be >= 0; got -1/],
  ['policy', { pools: { web: { upstreams: [ok], policy: 'best' } } }, 'HG_POOL_INVALID_OPTION', /policy: must be one of adaptive.*got 'best'/],
  ['unknown pool', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'api' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.pool: must be one of the pools web; got 'api'/],
  ['same prefix twice', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web' }, { prefix: '/', pool: 'web' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[1\]\.prefix/],
  ['timeout', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web', headersTimeout: 0 }] }, 'HG_POOL_INVALID_OPTION', /routes\[0\]\.headersTimeout: must be >= 1; got 0/]
]

for (const [name, options, code, message] of cases) {
  t.test(`refused: ${name}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(balancer, options as BalancerOptions) }, { code, message })
  })
}
