import { array, assert, asyncProperty, constantFrom, oneof, property, string } from 'fast-check'
import t from 'tap'
import { isPlainPath, originForm, rewriteTarget } from '../src/path.ts'
import { proxy, raw, upstream } from './helpers.ts'

/** What tricks are made of. */
const piece = oneof(
  constantFrom('/', '/', '//', '\\', '.', '..', '...', '%2e', '%2E%2e', '.%2e', '%2f', '%2F', '%5c', ';', ';x=1', '..;', 'a', 'api', '%61pi', 'b', '?', '&x=', '%', '%zz',
    '%00', '@', ':80', 'http://', '//evil.example', '*', '~', '%25', '%252e', ' ', '\t', '\u00e9', '%c0%ae'),
  string({ maxLength: 3 })
)
const tricky = array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''))

/** The path as the most generous of servers would read it: decoded, with backslashes and path parameters, dots resolved. */
function generous (target: string): string {
  const decoded = target.replace(/\?.*$/s, '').replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))).replaceAll('\\', '/')
  const out: string[] = []
  for (const segment of decoded.split('/')) {
    const name = segment.replace(/;.*$/s, '')
    if (name === '..') out.pop()
    else if (name !== '.' && name !== '') out.push(segment)
  }
  return `/${out.join('/')}`
}

const inside = (path: string, prefix: string): boolean => prefix === '/' || path === prefix || path.startsWith(`${prefix}/`) || path.startsWith(`${prefix};`)

t.test('no target escapes the prefix, or names another host', async () => {
  for (const [prefix, rewrite] of [['/api', '/v1'], ['/api', '/'], ['/', '/v1'], ['/api', undefined], ['/a/b', '/c/d']] as const) {
    assert(property(tricky, (tail) => {
      const target = rewriteTarget(`${prefix === '/' ? '' : prefix}/${tail}`, prefix, rewrite)
      if (target === undefined) return true
      const base = rewrite ?? prefix
      return /^\/[\x21-\x7e]*$/.test(target) && inside(generous(target), base) && new URL(`http://up.example${target}`).host === 'up.example' &&
        (rewrite === undefined || prefix === '/' || new URL(target, 'http://up.example').host === 'up.example')
    }), { numRuns: 3000, examples: [['/evil.example'], ['\\evil.example']] })
    assert(property(oneof(tricky, tricky.map((tail) => prefix + tail)), (target) => {
      const sent = rewriteTarget(target, prefix, rewrite)
      return sent === undefined || sent === '*' || (/^\/[\x21-\x7e]*$/.test(sent) && (rewrite === undefined || inside(generous(sent), rewrite)))
    }), { numRuns: 5000, examples: [['/api..;'], ['/api..'], ['/api.%2e/x']] })
  }
})

t.test('what is taken is sent byte for byte behind the prefix', async () => {
  const plain = array(constantFrom('a', 'B', '7', '/', '%2F', '%C3%A9', ';p', '~', '=', '..a', 'a..', '%7E'), { minLength: 1, maxLength: 8 }).map((pieces) => `x${pieces.join('')}x`)
  assert(property(plain, plain, (path, query) => rewriteTarget(`/api/${path}?${query}`, '/api', '/v1') === `/v1/${path}?${query}`))
  assert(property(plain, (path) => originForm(`http://h.example/${path}`) === `/${path}` && originForm(`/${path}`) === `/${path}`))
})

t.test('prefixes of options are plain', async (t) => {
  for (const good of ['/', '/api', '/api/', '/a/b', '/a.b', '/...', '/é']) t.ok(isPlainPath(good), good)
  for (const bad of ['', 'api', '//', '//h', '/a//b', '/a/../b', '/a/%2e%2e', '/a?b', '/a#b', '/a\\b', '/a b', '/a\n']) t.notOk(isPlainPath(bad), bad)
})

t.test('over the wire: whatever is asked for, it is the same upstream and under its prefix', async (t) => {
  const seen: string[] = []
  let strangers = 0
  const { url: to } = await upstream(t, (request, response) => {
    seen.push(request.url!)
    response.end()
  })
  const { url: other } = await upstream(t, (_request, response) => {
    strangers++
    response.end()
  })
  const { port } = await proxy(t, {
    pools: { api: [to], other: [other] }, routes: [{ prefix: '/api', pool: 'api', rewritePrefix: '/v1' }, { prefix: '/never', pool: 'other' }]
  })
  const bytes = tricky.filter((tail) => /^[!-~]*$/.test(tail))
  await assert(asyncProperty(bytes, constantFrom('/api/', 'http://h/api/', `${other}/api/`, '//h/api/', '/api', '/%61pi/', '/api/../never/', '/API/'), async (tail, start) => {
    const target = `${start}${tail}`
    // A name in the target that differs from Host is refused; where they are the same it still decides nothing.
    const host = /^http:\/\/([^/?#]*)/.exec(target)?.[1] ?? 'h'
    const answer = await raw(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    const arrived = seen.splice(0)
    return strangers === 0 && /^HTTP\/1\.1 (200|400|404) /.test(answer) && arrived.every((url) => inside(generous(url), '/v1')) && arrived.length === (answer.startsWith('HTTP/1.1 200') ? 1 : 0)
  }), { numRuns: 400, examples: [['', `${other}/api/`], ['..%2fnever/x', '/api/'], ['', '/api/../never/']] })
})
