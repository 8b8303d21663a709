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
  ['unknown option of a pool', { pools: { web: { upstreams: [ok], colour: 'red' } } }, 'HG_POOL_INVALID_OPTION', /options\.pools\.web\.colour: unknown option; known are upstreams, .*got 'red'/],
  ['unknown option of an upstream', { pools: { web: [{ url: ok, colour: 1 }] } }, 'HG_POOL_INVALID_OPTION', /options\.pools\.web\.upstreams\[0\]\.colour: unknown option; known are url, .*got 1/],
  ['no pool at all', { pools: {} }, 'HG_POOL_INVALID_OPTION', /options\.pools: must have at least one entry; got an object with keys \(none\)/],
  ['scheme', { pools: { web: ['ftp://h'] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]: must be an origin such as .*got 'ftp:\/\/h'/],
  ['port', { pools: { web: ['http://h:70000'] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]: must be an origin .*got 'http:\/\/h:70000'/],
  ['same id twice', { pools: { web: [{ url: ok, id: 'a' }, { url: 'http://h', id: 'a' }] } }, 'HG_UPSTREAM_DUPLICATE', /upstreams\[1\].*id a/],
  ['same address in two spellings', { pools: { web: ['http://H:80', 'http://h/'] } }, 'HG_UPSTREAM_DUPLICATE', /upstreams\[1\]: 'http:\/\/h'/],
  ['app without id', { pools: { web: [{ app: Fastify() }] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]\.id: is required/],
  ['neither url nor app', { pools: { web: [{ weight: 1 }] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]: needs either 'url' or 'app'/],
  ['weight that is no number', { pools: { web: [{ url: ok, weight: Number.NaN }] } }, 'HG_POOL_INVALID_OPTION', /upstreams\[0\]\.weight: .*got NaN/],
  ['hashOn', { pools: { web: { upstreams: [ok], policy: 'hash', hashOn: 'colour' } } }, 'HG_POOL_INVALID_OPTION', /hashOn: must be 'client-address', .*got 'colour'/],
  ['clientLocation', { pools: { web: { upstreams: [ok], policy: 'nearest', clientLocation: 'here' } } }, 'HG_POOL_INVALID_OPTION', /clientLocation: must be a function; got 'here'/],
  ['options for a policy without any', { pools: { web: { upstreams: [ok], policyOptions: {} } } }, 'HG_POOL_INVALID_OPTION', /policyOptions: must not be given: only hash, ip-hash, nearest take options, not adaptive/],
  ['unknown option of a policy', { pools: { web: { upstreams: [ok], policy: 'nearest', policyOptions: { zones: 'a' } } } }, 'HG_POOL_INVALID_OPTION', /policyOptions\.zones: unknown option; known are zone, location, by, policy, spillOver, minCapacity; got 'a'/],
  ['option of a policy out of range', { pools: { web: { upstreams: [ok], policy: 'hash', policyOptions: { boundedLoad: 1 } } } }, 'HG_POOL_INVALID_OPTION', /policyOptions\.boundedLoad: must be .*>= 1\.05/],
  ['policy without create', { pools: { web: { upstreams: [ok], policy: { name: 'x' } } } }, 'HG_POOL_INVALID_OPTION', /policy: must be a policy name or an object with name and create\(\)/],
  ['pool with a path for a prefix', { pools: { web: [ok] }, routes: [{ prefix: 'api', pool: 'web' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.prefix: must be a plain path .*got 'api'/],
  ['pattern in a prefix', { pools: { web: [ok] }, routes: [{ prefix: '/:id', pool: 'web' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.prefix: .*no pattern.*got '\/:id'/],
  ['dots in a prefix', { pools: { web: [ok] }, routes: [{ prefix: '/a/../b', pool: 'web' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.prefix/],
  ['network path as a rewrite', { pools: { web: [ok] }, routes: [{ prefix: '/a', pool: 'web', rewritePrefix: '//evil' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.rewritePrefix: .*double slash; got '\/\/evil'/],
  ['query in a rewrite', { pools: { web: [ok] }, routes: [{ prefix: '/a', pool: 'web', rewritePrefix: '/b?x=1' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.rewritePrefix/],
  ['same prefix but for a slash', { pools: { web: [ok] }, routes: [{ prefix: '/a', pool: 'web' }, { prefix: '/a/', pool: 'web' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[1\]\.prefix: is already taken by options\.routes\[0\]; .*got '\/a\/'/],
  ['neither pool nor rules', { pools: { web: [ok] }, routes: [{ prefix: '/' }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]: needs either 'pool' or 'rules'/],
  ['pool and rules', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web', rules: [{ pool: 'web' }] }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]: needs either 'pool' or 'rules'/],
  ['unknown pool in a rule', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: 'api' }] }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.rules\[0\]\.pool: must be one of the pools web; got 'api'/],
  ['unknown pool in a split', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: { web: 1, api: 1 } }] }] }, 'HG_BALANCER_INVALID_OPTION', /routes\[0\]\.rules\[0\]\.pool: must be one of the pools web; got 'api'/],
  ['unknown pool as a fallback', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: 'web', fallback: ['web', 'api'] }] }] }, 'HG_BALANCER_INVALID_OPTION', /rules\[0\]\.fallback\[1\]: must be one of the pools web; got 'api'/],
  ['fallback that is no list', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: 'web', fallback: 'web' }] }] }, 'HG_POOL_INVALID_OPTION', /rules\[0\]\.fallback: must be array; got 'web'/],
  ['unknown option of a rule', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: 'web', weight: 1 }] }] }, 'HG_POOL_INVALID_OPTION', /rules\[0\]\.weight: unknown option; known are .*match, pool, fallback, .*got 1/],
  ['unknown condition', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ match: { colour: '/x' }, pool: 'web' }] }] }, 'HG_POOL_INVALID_OPTION', /rules\[0\]\.match\.colour: unknown option; known are path, method, /],
  ['method in small letters', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ match: { method: ['GET', 'post'] }, pool: 'web' }] }] }, 'HG_POOL_INVALID_OPTION', /rules\[0\]\.match\.method\[1\]: .*got 'post'/],
  ['header that is no text', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ match: { header: { 'x-a': 5 } }, pool: 'web' }] }] }, 'HG_BALANCER_INVALID_OPTION', /rules\[0\]\.match\.header\.x-a: must be a string, true, false, a RegExp or \{ pattern \}; got 5/],
  ['negative share', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: { web: -1 } }] }] }, 'HG_POOL_INVALID_OPTION', /rules\[0\]\.pool\.web: must be >= 0; got -1/],
  ['shares of nothing', { pools: { web: [ok] }, routes: [{ prefix: '/', rules: [{ pool: { web: 0 } }] }] }, 'HG_BALANCER_INVALID_OPTION', /rules\[0\]\.pool: needs a share above 0/],
  ['unknown option of a route', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web', rewrite: '/' }] }, 'HG_POOL_INVALID_OPTION', /routes\[0\]\.rewrite: unknown option; known are .*rewritePrefix/],
  ['unknown option of retry', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web', retry: { times: 1 } }] }, 'HG_POOL_INVALID_OPTION', /routes\[0\]\.retry\.times: unknown option/],
  ['name in Via', { pools: { web: [ok] }, viaName: 'a b' }, 'HG_POOL_INVALID_OPTION', /options\.viaName: .*got 'a b'/],
  ['timeout', { pools: { web: [ok] }, routes: [{ prefix: '/', pool: 'web', headersTimeout: 0 }] }, 'HG_POOL_INVALID_OPTION', /routes\[0\]\.headersTimeout: must be >= 1; got 0/]
]

for (const [name, options, code, message] of cases) {
  t.test(`refused: ${name}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(balancer, options as BalancerOptions) }, { code, message })
  })
}

t.test('prefixes that meet', async (t) => {
  await t.test('in two registrations', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(balancer, { pools: { web: [ok] }, routes: [{ prefix: '/a', pool: 'web' }] })
    await t.rejects(async () => { await app.register(balancer, { pools: { api: [ok] }, routes: [{ prefix: '/a', pool: 'api' }] }) },
      { code: 'HG_BALANCER_INVALID_OPTION', message: /routes\[0\]\.prefix: is already taken by options\.routes\[0\]/ })
  })
  await t.test("with the app's own route for every method", async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.all('/a/*', async () => 'own')
    app.addHttpMethod('PROPFIND')
    await app.register(balancer, { pools: { web: [ok] }, routes: [{ prefix: '/a', pool: 'web' }] })
    t.equal((await app.inject('/a/x')).body, 'own', 'what the app answers itself stays its own')
    t.not((await app.inject({ method: 'PROPFIND' as never, url: '/a/x' })).body, 'own')
  })
  await t.test('a pool name twice', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(balancer, { pools: { web: [ok] } })
    await t.rejects(async () => { await app.register(balancer, { pools: { web: [ok] } }) }, { code: 'HG_BALANCER_INVALID_OPTION', message: /options\.pools\.web: is already there/ })
  })
  await t.test('pools of earlier registrations', async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(balancer, { pools: { web: [ok] } })
    await t.rejects(async () => { await app.register(balancer, { pools: { b: [ok] }, routes: [{ prefix: '/', pool: 'web' }, { prefix: '/b', pool: 'none' }] }) },
      { message: /routes\[1\]\.pool: must be one of the pools web, b; got 'none'/ })
  })
})

t.test('what reply.forward is given is checked as well', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(balancer, { pools: { web: [ok] } })
  app.get('/pool', (_request, reply) => reply.forward('api'))
  app.get('/option', { config: { forward: { retries: 1 } as never } }, (_request, reply) => reply.forward('web'))
  app.get('/rewrite', (_request, reply) => reply.forward('web', { rewritePrefix: 'x' }))
  for (const path of ['/users/:id', '/users/:id/*']) app.get(path, (_request, reply) => reply.forward('web', { rewritePrefix: '/x' }))
  t.match((await app.inject('/pool')).json(), { statusCode: 500, code: 'HG_POOL_UNKNOWN', message: "there is no pool 'api'; pools are: web" })
  t.match((await app.inject('/option')).json(), { statusCode: 500, code: 'HG_POOL_INVALID_OPTION', message: /reply\.forward options\.retries: unknown option/ })
  t.match((await app.inject('/rewrite')).json(), { statusCode: 500, code: 'HG_BALANCER_INVALID_OPTION', message: /reply\.forward options\.rewritePrefix/ })
  for (const path of ['/users/1', '/users/1/a']) {
    t.match((await app.inject(path)).json(), { statusCode: 500, code: 'HG_BALANCER_INVALID_OPTION', message: /rewritePrefix: must not be given for \/users\/:id.*which has parameters: use rewritePath; got '\/x'/ })
  }
  t.throws(() => app.balancer.pool('api'), { code: 'HG_POOL_UNKNOWN' })
})
