import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyRequest } from 'fastify'
import t from 'tap'
import { type Location, nearest } from '@headgate/core'
import balancer, { type BalancerPoolOptions, type ClientLocationOptions } from '../src/index.ts'
import { proxy, upstream } from './helpers.ts'
import { mmdb } from './mmdb.ts'

const paris = { latitude: 48.9, longitude: 2.4 }
const tokyo = { latitude: 35.7, longitude: 139.7 }

t.test('nearest: the client, then this proxy, then zones decide; options by name and from nearest() are the same', async (t) => {
  const [east, west] = await Promise.all(['east', 'west'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const upstreams = [{ url: east!.url, location: tokyo, zone: 'e' }, { url: west!.url, location: paris, zone: 'w' }]
  const clientLocation = ({ headers }: FastifyRequest): Location | undefined => {
    const at = headers['x-at'] as string | undefined
    if (at === 'fail') throw new Error('no table')
    const [latitude, longitude] = at?.split(',').map(Number) ?? []
    return at === undefined ? undefined : { latitude: latitude!, longitude: longitude! }
  }
  const london = { latitude: 51.5, longitude: -0.1 }
  const { url } = await proxy(t, {
    pools: {
      client: { upstreams, policy: 'nearest', policyOptions: { location: london }, clientLocation },
      object: { upstreams: upstreams.map((one) => ({ ...one, id: `o${one.zone}` })), policy: nearest({ location: london }), clientLocation },
      zone: { upstreams: upstreams.map((one) => ({ ...one, id: `z${one.zone}` })), policy: 'nearest', policyOptions: { zone: 'e', location: london } }
    },
    routes: ['client', 'object', 'zone'].map((pool) => ({ prefix: `/${pool}`, pool }))
  })
  const ask = async (pool: string, at?: string): Promise<string> => (await fetch(`${url}/${pool}`, { headers: at === undefined ? {} : { 'x-at': at } })).text()
  for (const pool of ['client', 'object']) {
    t.equal(await ask(pool, '37.5,127'), 'east', 'a client in Seoul')
    t.equal(await ask(pool, '52.5,13.4'), 'west', 'a client in Berlin')
    t.equal(await ask(pool), 'west', 'nobody knows where: nearest to this proxy')
    for (const odd of ['91,0', 'here,there', 'fail']) t.equal(await ask(pool, odd), 'west', `${odd}: as if not known`)
  }
  t.equal(await ask('zone', '52.5,13.4'), 'east', 'the own zone comes before all distances')
})

t.test('hashOn that fails, or gives nothing, is as if it were not there', async (t) => {
  const ups = await Promise.all(['a', 'b', 'c'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const { url } = await proxy(t, {
    pools: { web: { upstreams: ups.map((one) => one.url), policy: 'hash', hashOn: (request) => {
      if (request.url === '/fail') throw new Error('no key')
      return request.url === '/none' ? undefined as never : 'same'
    } } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  const [fail, none, one, two] = await Promise.all(['/fail', '/none', '/1', '/2'].map(async (path) => (await fetch(url + path)).text()))
  t.match(fail, /^[abc]$/)
  t.equal(fail, none, 'both by the address')
  t.equal(one, two)
})

t.test('a database and a trusted peer say where clients are; who is in neither goes by the proxy', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'hg-geo-'))
  t.teardown(() => { rmSync(home, { recursive: true, force: true }) })
  const city = join(home, 'city.mmdb')
  writeFileSync(city, mmdb('203.0.113.0/24', { city: { name: 'Seoul' }, location: { latitude: 37.5, longitude: 127 } }))
  const country = fileURLToPath(import.meta.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb'))
  const [east, west] = await Promise.all(['east', 'west'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const pool = (id: string, clientLocation: ClientLocationOptions): BalancerPoolOptions => ({
    upstreams: [{ url: east!.url, location: tokyo, id: `e${id}` }, { url: west!.url, location: paris, id: `w${id}` }],
    policy: 'nearest', policyOptions: { location: { latitude: 51.5, longitude: -0.1 } }, clientLocation
  })
  const countries = { JP: tokyo, NL: { latitude: 52.1, longitude: 5.3 } }
  const headers = { from: ['127.0.0.0/8'], latitude: 'X-Geo-Latitude', longitude: 'X-Geo-Longitude', country: 'CF-IPCountry' }
  const { url } = await proxy(t, {
    pools: {
      city: pool('c', { database: city }),
      country: pool('n', { database: country, countries }),
      header: pool('h', { headers, countries, database: city }),
      stranger: pool('s', { headers: { ...headers, from: ['192.0.2.1'] }, countries })
    },
    routes: ['city', 'country', 'header', 'stranger'].map((pool) => ({ prefix: `/${pool}`, pool }))
  }, undefined, { trustProxy: true })
  const ask = async (pool: string, client: string, more: Record<string, string> = {}): Promise<string> =>
    (await fetch(`${url}/${pool}`, { headers: { 'x-forwarded-for': client, ...more } })).text()
  t.equal(await ask('city', '203.0.113.9'), 'east', 'from Seoul')
  t.equal(await ask('city', '203.0.113.9'), 'east', 'as it was kept')
  t.equal(await ask('city', '198.51.100.1'), 'west', 'in no network of the database')
  t.equal(await ask('city', 'unknown'), 'west')
  t.equal(await ask('country', '133.11.0.1'), 'east', 'Japan')
  t.equal(await ask('country', '2001:67c:2e8:22::1'), 'west', 'the Netherlands')
  t.equal(await ask('country', '8.8.8.8'), 'west', 'a country that is not in the table')
  const there = { 'x-geo-latitude': '35', 'x-geo-longitude': '139' }
  t.equal(await ask('header', '198.51.100.1', there), 'east')
  t.equal(await ask('header', '198.51.100.1', { 'cf-ipcountry': 'jp' }), 'east')
  t.equal(await ask('header', '203.0.113.9', { 'cf-ipcountry': 'XX' }), 'east', 'the database knows what the field does not')
  for (const odd of ['', 'north', '91']) t.equal(await ask('header', '198.51.100.1', { ...there, 'x-geo-latitude': odd }), 'west', `latitude '${odd}'`)
  t.equal(await ask('stranger', '198.51.100.1', { ...there, 'cf-ipcountry': 'JP' }), 'west', 'not from a peer that is trusted')
  writeFileSync(join(home, 'none.mmdb'), 'no database')
  const wrong: [ClientLocationOptions, RegExp][] = [
    [{ database: join(home, 'none.mmdb') }, /clientLocation\.database: must be a MaxMind DB file/], [{ database: '/none.mmdb' }, /clientLocation\.database: must be a MaxMind DB file: .*none\.mmdb/],
    [{ countries }, /clientLocation: needs 'headers' or 'database'/], [{ headers: { from: ['10.0.0.0/33'], country: 'a' } }, /clientLocation\.headers\.from\[0\]: must be an IP address/],
    [{ headers: { from: ['::1'], latitude: 'a' } }, /needs 'latitude' and 'longitude', or neither/], [{ headers: { from: ['::1'] } }, /needs 'latitude' and 'longitude', or 'country'/],
    [{ database: city, countries: { JP: { latitude: 99, longitude: 0 } } }, /clientLocation\.countries\.JP\.latitude: must be <= 90/]
  ]
  for (const [clientLocation, message] of wrong) {
    await t.rejects(async () => { await Fastify().register(balancer, { pools: { web: pool('x', clientLocation) } }) }, { code: 'HG_POOL_INVALID_OPTION', message })
  }
})

t.test('by latency: connections are measured as they open, and the nearest is taken without any place', async (t) => {
  const [far, near] = await Promise.all(['far', 'near'].map((name) => upstream(t, (_request, response) => { response.end(name) })))
  const { app, url } = await proxy(t, {
    pools: { web: { upstreams: [{ url: far!.url, zone: 'far' }, { url: near!.url, zone: 'near' }], policy: 'nearest', policyOptions: { by: 'latency' } } },
    routes: [{ prefix: '/', pool: 'web' }]
  })
  const asked = new Set([await (await fetch(url)).text(), await (await fetch(url)).text()])
  t.same([...asked].sort(), ['far', 'near'], 'each is tried once')
  const seen = new Set<string>()
  for (let k = 0; k < 5; k++) seen.add(await (await fetch(url)).text())
  t.equal(seen.size, 1, 'then one of them has all')
  t.equal(app.balancer.pool('web').settings.policy.name, 'nearest')
})
