import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { type Location, nearest } from '@headgate/core'
import { proxy, upstream } from './helpers.ts'

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
