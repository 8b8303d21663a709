import t from 'tap'
import { Deadlines, parseStreamTarget, Pool, type PoolKind, type Target, type Transport, seeded } from '../src/index.ts'
import { FakeClock } from './clock.ts'

t.test('addresses of layer 4 upstreams', async (t) => {
  const href = (text: string): string => parseStreamTarget(text, 'x').href
  t.match(parseStreamTarget('tcp://10.0.0.1:5432', 'x'), { protocol: 'tcp:', hostname: '10.0.0.1', port: 5432, socketPath: undefined })
  t.match(parseStreamTarget('udp://[::1]:53', 'x'), { protocol: 'udp:', hostname: '::1', port: 53, host: '[::1]:53' })
  t.match(parseStreamTarget('tls://db.example:5432', 'x'), { protocol: 'tls:', hostname: 'db.example' })
  t.match(parseStreamTarget('unix:/run/db.sock', 'x'), { protocol: 'unix:', socketPath: '/run/db.sock' })
  t.equal(href('tcp://DB.example:80'), 'tcp://db.example:80', 'one form for all spellings, and ports are kept')
  t.equal(href('tcp://[0:0::1]:80/'), href('tcp://[::1]:80'))
  for (const wrong of [
    'http://a:1', 'tcp://a', 'tcp://a:0', 'tcp://a:65536', 'tcp://a:1/path', 'tcp://user@a:1', 'tcp://:1', 'tcp://a b:1', 'tcp://[::g]:1', 'unix:run/x', 'tcp://a:1?b', 'udp:a:1', ''
  ]) t.throws(() => parseStreamTarget(wrong, 'pools.x'), { code: 'HG_POOL_INVALID_OPTION', message: /^pools\.x: must be an address such as/ }, wrong)
})

t.test('a pool of another kind reads its own addresses and makes its own transports, at run time too', async (t) => {
  const made: Target[] = []
  const kind: PoolKind = {
    scheme: 'tcp',
    parseTarget: parseStreamTarget,
    createTransport: (_app, target) => {
      made.push(target)
      return { close: async () => {}, destroy () {} } as unknown as Transport
    }
  }
  const clock = new FakeClock()
  const pool = new Pool('p', { upstreams: ['tcp://a:1;weight=2'] }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock), kind)
  pool.add('tcp://b:1')
  await pool.update(['tcp://b:1', 'unix:/c'])
  t.same(made.map(({ href }) => href), ['tcp://a:1', 'tcp://b:1', 'unix:/c'])
  t.throws(() => pool.add('http://a'), { code: 'HG_POOL_INVALID_OPTION' })
  t.throws(() => new Pool('p', { upstreams: ['tcp://a:1'] }, 'pool', { clock, random: seeded(1) }, new Deadlines(clock)), { code: 'HG_POOL_INVALID_OPTION' })
})
