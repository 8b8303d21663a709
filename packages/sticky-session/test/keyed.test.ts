import jwt from '@fastify/jwt'
import fc from 'fast-check'
import t from 'tap'
import type { StickyOptions } from '../src/index.ts'
import { networkOf } from '../src/kinds/source-ip.ts'
import { FakeClock, origins, results, site } from './helpers.ts'

async function ask (url: string, headers: Record<string, string> = {}): Promise<string> {
  return (await fetch(url, { headers })).text()
}

t.test('header, query, path parameter: the same value, the same upstream', async (t) => {
  const kinds: [StickyOptions, (url: string, value: string) => Promise<string>][] = [
    [{ by: 'header', name: 'X-User' }, async (url, value) => ask(url, { 'x-user': value })],
    [{ by: 'query', name: 'user' }, async (url, value) => ask(`${url}/p?a=1&user=${encodeURIComponent(value)}`)],
    [{ by: 'param', name: 'user' }, async (url, value) => ask(`${url}/u/${encodeURIComponent(value)}/x`)]
  ]
  for (const [options, go] of kinds) {
    for (const memory of ['table', 'hash'] as const) {
      const { url } = await site(t, await origins(t, 'abc'), { ...options, memory } as StickyOptions, {}, {
        after: (app) => { app.get('/u/:user/*', (_request, reply) => reply.forward('web')) }
      })
      const homes = new Map<string, string>()
      for (let round = 0; round < 3; round++) {
        for (const value of ['ada', 'grace', 'ü ö', 'x'.repeat(options.by === 'param' ? 90 : 3000), 'bob']) {
          const there = await go(url, value === 'ü ö' && options.by === 'header' ? 'u o' : value)
          t.equal(homes.get(value) ?? there, there, `${options.by} by ${memory}: ${value.slice(0, 10)}`)
          homes.set(value, there)
        }
      }
      const without = new Set<string>()
      for (let i = 0; i < 6; i++) without.add(await ask(url))
      t.ok(without.size > 1, `${options.by} by ${memory}: without a value the policy chooses`)
    }
  }
})

t.test('key: what authentication has verified, which a client cannot choose', async (t) => {
  const list = await origins(t, 'abc')
  const { url, app } = await site(t, list, { by: 'key', key: (request) => (request.user as { tenant: string } | undefined)?.tenant }, {}, {
    before: async (app) => {
      await app.register(jwt, { secret: 'a secret of more than thirty-two bytes' })
      app.addHook('onRequest', async (request) => { await request.jwtVerify() })
    }
  })
  const token = (tenant: string): Record<string, string> => ({ authorization: `Bearer ${app.jwt.sign({ tenant })}`, 'x-tenant': 'somebody else' })
  const homes = []
  for (const tenant of ['one', 'two', 'three']) homes.push(await ask(url, token(tenant)))
  t.same(new Set(homes), new Set(['a', 'b', 'c']))
  for (const [i, tenant] of ['one', 'two', 'three'].entries()) t.equal(await ask(url, token(tenant)), homes[i])
  t.equal((await fetch(url, { headers: { authorization: `${token('one')['authorization']!}x` } })).status, 401)
  t.equal((await fetch(url)).status, 401)
})

t.test('a key function that throws costs the affinity, not the request', async (t) => {
  const { url, app } = await site(t, await origins(t, 'a'), { by: 'key', key: () => { throw new Error('a bug') } })
  const seen = results(t, () => app)
  t.equal(await ask(url), 'a')
  t.same(seen, ['failed'])
})

t.test('source-ip: as trustProxy sees it, IPv6 by its /64, IPv4 in IPv6 as IPv4', async (t) => {
  for (const memory of ['hash', 'table'] as const) {
    const { url } = await site(t, await origins(t, 'abcdefgh'), { by: 'source-ip', memory }, {}, { server: { trustProxy: true } })
    const from = (address: string): Promise<string> => ask(url, { 'x-forwarded-for': address })
    const homes = new Set<string>()
    for (let i = 1; i <= 20; i++) {
      const home = await from(`10.0.0.${i}`)
      homes.add(home)
      t.equal(await from(`::ffff:10.0.0.${i}`), home)
    }
    t.ok(homes.size > 2)
    const network = await from('2001:db8:1:2::1')
    for (const host of ['2', 'ffff:1', 'b:c:d']) t.equal(await from(`2001:db8:1:2::${host}`), network)
    t.equal(await from('2001:0db8:0001:0002:9:9:9:9'), network)
  }
  const { url } = await site(t, await origins(t, 'abcdefgh'), { by: 'source-ip' })
  const told = await ask(url)
  for (let i = 0; i < 10; i++) t.equal(await ask(url, { 'x-forwarded-for': `10.0.0.${i}` }), told, 'untrusted, a client chooses nothing')
})

t.test('networks: equal within the prefix, different beyond it', async (t) => {
  fc.assert(fc.property(fc.ipV4(), fc.integer({ min: 1, max: 32 }), fc.nat(31), (address, bits, flipped) => {
    const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
    const other = Number(BigInt(number) ^ 1n << BigInt(31 - flipped))
    const text = [24, 16, 8, 0].map((shift) => Number(BigInt(other) >> BigInt(shift) & 255n)).join('.')
    const same = networkOf(address, bits, 64) === networkOf(text, bits, 64)
    if (same !== (flipped >= bits)) throw new Error(`${address} ${text} /${bits}`)
    if (networkOf(address, bits, 64) !== networkOf(`::ffff:${address}`, bits, 64)) throw new Error(`${address} in IPv6`)
  }))
  const groups = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 })
  fc.assert(fc.property(groups, fc.integer({ min: 1, max: 128 }), fc.nat(127), (list, bits, flipped) => {
    const write = (all: number[]): string => all.map((group) => group.toString(16)).join(':')
    // Mapped addresses count as IPv4.
    if (list.slice(0, 5).every((group) => group === 0)) return
    const other = list.slice()
    other[flipped >> 4]! ^= 1 << 15 - (flipped & 15)
    if (other.slice(0, 5).every((group) => group === 0)) return
    const same = networkOf(write(list), 32, bits) === networkOf(write(other), 32, bits)
    if (same !== (flipped >= bits)) throw new Error(`${write(list)} ${write(other)} /${bits}`)
  }))
  for (const nonsense of ['', 'unix', '1.2.3.256', 'fe80::1::2', 'x'.repeat(100)]) t.equal(networkOf(nonsense, 32, 64), undefined)
  t.equal(networkOf('fe80::1%eth0', 32, 64), networkOf('fe80::2', 32, 64))
})

t.test('the table forgets: idle, after its lifetime, when full', async (t) => {
  const clock = new FakeClock()
  const { url, app } = await site(t, await origins(t, 'ab'), {
    by: 'header', name: 'x-user', clock, idleTimeout: 10_000, lifetime: 25_000, table: { maxEntries: 3 }
  })
  const seen = results(t, () => app)
  const go = async (user: string, after = 0): Promise<string> => {
    clock.advance(after)
    seen.length = 0
    await ask(url, { 'x-user': user })
    return seen.join(' ')
  }
  t.equal(await go('ada'), 'new')
  t.equal(await go('ada', 9000), 'hit')
  t.equal(await go('ada', 9000), 'hit', 'use prolongs')
  t.match(await go('ada', 8000), /new$/, 'not beyond its lifetime')
  t.equal(await go('ada', 10_001), 'new', 'idle for too long')
  for (const user of ['b', 'c']) t.equal(await go(user), 'new')
  t.equal(await go('ada'), 'hit')
  t.equal(await go('d'), 'new')
  t.equal(await go('ada'), 'hit', 'used lately')
  t.equal(await go('b'), 'new', 'the longest idle was forgotten')
})
