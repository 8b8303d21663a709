import t from 'tap'
import { environment, serve, upstream } from './processes.ts'

t.test('--sticky: a client stays, in another process with the same secret too', async (t) => {
  environment['HEADGATE_STICKY_KEYS'] = 'a secret of at least thirty-two bytes'
  environment['NODE_ENV'] = 'production'
  const flags = ['--upstream', await upstream(t, 'a'), '--upstream', await upstream(t, 'b'), '--policy', 'round-robin', '--sticky', 'cookie']
  const [one, two] = await Promise.all([serve(t, ...flags), serve(t, ...flags)])
  const first = await fetch(one.url)
  const home = await first.text()
  const headers = { cookie: first.headers.getSetCookie()[0]!.split(';')[0]! }
  for (const { url } of [one, two, one, two]) t.equal(await (await fetch(url, { headers })).text(), home)
  t.notMatch(one.stdout(), /no keys/)
})
