import fc from 'fast-check'
import t from 'tap'
import { makeEntry, ageOf, freshFor, type Entry, type StoragePolicy } from '../../src/entry.ts'
import { parseCacheControl, parseRequestCacheControl, parseTargeted } from '../../src/semantics/cache-control.ts'
import { listOf, storable } from '../../src/semantics/fields.ts'
import { initialAge, parseAge } from '../../src/semantics/freshness.ts'
import { formatHttpDate, parseHttpDate } from '../../src/semantics/http-date.ts'
import { parseContentRange, parseRange, resolve } from '../../src/semantics/ranges.ts'
import { isEtag, parseEtags, strongMatch, weakMatch } from '../../src/semantics/validators.ts'
import { entryIds } from '../../src/entry-ids.ts'
import { normalise } from '../../src/semantics/vary.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const policy: StoragePolicy = {
  targets: ['cdn-cache-control'], heuristic: { fraction: 0.1, max: 86_400_000 }, setCookie: 'explicit', ttl: () => undefined, ttlOverrides: false, staleWhileRevalidate: 0
}

function made (fields: Record<string, string>, { status = 200, requestHeaders = {}, url = 'http://a.example/' } = {}): Entry | string {
  return makeEntry({
    key: url, url, origin: 'http://a.example', status, reason: '', fields: Object.entries(fields).flat(), requestHeaders, requestTime: NOW, responseTime: NOW
  }, policy, () => 'id')
}

const lifetimeOf = (fields: Record<string, string>): number => {
  const entry = made({ etag: '"a"', ...fields })
  return typeof entry === 'string' ? Number.NaN : entry.lifetime / 1000
}

t.test('HTTP-dates: three forms, any case, nothing else (RFC 9110 5.6.7)', async (t) => {
  const at = Date.UTC(1994, 10, 6, 8, 49, 37)
  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994', 'sun, 06 nov 1994 08:49:37 gmt']) {
    t.equal(parseHttpDate(text, NOW), at, text)
  }
  for (const text of ['', '0', '-1', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Nov 1994 08:49:37 UTC', 'Sun, 6 Nov 1994 08:49:37 GMT', 'Sun, 31 Feb 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT', ' Sun, 06 Nov 1994 08:49:37 GMT', '1994-11-06T08:49:37Z', 'Sun, 06 Nov 94 08:49:37 GMT']) {
    t.ok(Number.isNaN(parseHttpDate(text, NOW)), JSON.stringify(text))
  }
  t.equal(parseHttpDate('Friday, 01-Jan-77 00:00:00 GMT', NOW), Date.UTC(1977, 0, 1), 'more than 50 years ahead is past')
  fc.assert(fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => parseHttpDate(formatHttpDate(seconds * 1000), NOW) === seconds * 1000))
})

t.test('Age: first member, decimal digits only (RFC 9111 5.1)', async (t) => {
  for (const [text, seconds] of [['0', 0], ['7200', 7200], ['7200, 0', 7200], ['99999999999999', 2_147_483_648]] as const) t.equal(parseAge(text), seconds, text)
  for (const text of ['-1', '1.5', 'x', '', '+3', '0x10', '7200;a=b', ', 3']) t.equal(parseAge(text), -1, text)
})

t.test('freshness lifetime: order, first occurrence, invalid values (RFC 9111 4.2.1)', async (t) => {
  const later = formatHttpDate(NOW + 100_000)
  t.equal(lifetimeOf({ 'cache-control': 's-maxage=1, max-age=2', expires: later }), 1)
  t.equal(lifetimeOf({ 'cache-control': 'max-age=2', expires: later }), 2)
  t.equal(lifetimeOf({ expires: later }), 100)
  t.equal(lifetimeOf({ expires: later, date: formatHttpDate(NOW - 50_000) }), 150, 'counted from Date')
  t.equal(lifetimeOf({ expires: '0' }), 0)
  t.equal(lifetimeOf({ 'cache-control': 'max-age=2, max-age=5' }), 2, 'the first counts')
  t.equal(lifetimeOf({ 'cache-control': 'max-age="3"' }), 3, 'quoted is accepted')
  for (const bad of ['max-age=-1', 'max-age=1.5', 'max-age', 'max-age=', 'max-age=x', "max-age='3'"]) t.equal(lifetimeOf({ 'cache-control': bad }), 0, bad)
  t.equal(lifetimeOf({ 'cache-control': 'MAX-AGE=9' }), 9)
  t.equal(lifetimeOf({ 'cache-control': 'extension="max-age=1, x", max-age=4' }), 4, 'what is quoted is no directive')
  t.equal(lifetimeOf({ 'cache-control': 'max-age=99999999999' }), 2_147_483_648)
})

t.test('heuristic lifetime: a tenth of the age of Last-Modified, bounded, and only for statuses that allow it (RFC 9111 4.2.2)', async (t) => {
  const modified = formatHttpDate(NOW - 1_000_000)
  t.equal(lifetimeOf({ 'last-modified': modified }), 100)
  t.equal(lifetimeOf({ 'last-modified': formatHttpDate(0) }), 86_400)
  t.equal(lifetimeOf({ 'last-modified': formatHttpDate(NOW + 5000) }), 0)
  t.equal(lifetimeOf({ 'last-modified': modified, 'cache-control': 'max-age=0' }), 0)
  t.equal(typeof made({ 'last-modified': modified }, { status: 302 }), 'string')
  t.not(typeof made({ 'last-modified': modified, 'cache-control': 'public' }, { status: 302 }), 'string')
})

t.test('what may be stored (RFC 9111 3)', async (t) => {
  for (const [fields, why] of [
    [{ 'cache-control': 'max-age=5, no-store' }, 'no-store'], [{ 'cache-control': 'max-age=5, private' }, 'private'], [{ 'cache-control': 'max-age=5', vary: '*' }, 'vary'],
    [{ 'cache-control': 'max-age=5', vary: 'a, *' }, 'vary'], [{}, 'freshness'], [{ 'cache-control': 'max-age=0' }, 'freshness'], [{ 'cache-control': 'max-age=5', 'set-cookie': 'a=b' }, 'set-cookie']
  ] as const) t.equal(made(fields), why, JSON.stringify(fields))
  for (const fields of [
    { 'cache-control': 'max-age=5' }, { 'cache-control': 'max-age=5, private="x-a"' }, { 'cache-control': 'max-age=5, public', 'set-cookie': 'a=b' }, { 'cache-control': 's-maxage=5', 'set-cookie': 'a=b' },
    { etag: '"a"' }, { 'cache-control': 'no-cache', etag: '"a"' }, { 'cache-control': 'no-store, must-understand, max-age=5' }
  ]) t.not(typeof made(fields as never), 'string', JSON.stringify(fields))
  for (const directive of ['private', 'no-cache']) {
    const fields = (made({ 'cache-control': `max-age=5, ${directive}="Set-Cookie"`, 'set-cookie': 'a=b', 'x-a': '1' }) as Entry).fields
    t.ok(fields.includes('x-a') && !fields.includes('set-cookie'), `${directive} names the cookie: the rest is for all`)
  }
  t.equal(made({ 'cache-control': 'no-store, must-understand, max-age=5' }, { status: 599 }), 'must-understand')
  const requestHeaders = { authorization: 'x' }
  t.equal(made({ 'cache-control': 'max-age=5' }, { requestHeaders }), 'authorization')
  for (const allowed of ['public, max-age=5', 's-maxage=5', 'must-revalidate, max-age=5']) t.not(typeof made({ 'cache-control': allowed }, { requestHeaders }), 'string', allowed)
  for (const status of [101, 304, 407, 412, 416]) t.equal(typeof made({ 'cache-control': 'max-age=5' }, { status }), 'string', String(status))
})

t.test('what is stored of the fields: no hop-by-hop ones, none that Connection, no-cache or private name (RFC 9111 3.1)', async (t) => {
  t.same(storable(['Connection', 'a, B', 'A', '1', 'b', '2', 'c', '3', 'Keep-Alive', 'x', 'TE', 'y', 'Proxy-Authenticate', 'z']), ['c', '3'])
  const entry = made({ 'cache-control': 'max-age=5, no-cache="x-a, X-B", private=x-c', 'x-a': '1', 'x-b': '2', 'x-c': '3', 'x-d': '4', age: '1', 'content-length': '9', date: formatHttpDate(NOW) }) as Entry
  t.same(entry.fields.filter((_, i) => i % 2 === 0), ['cache-control', 'x-d', 'date'])
})

t.test('targeted fields: strict, and alone where they are valid (RFC 9213)', async (t) => {
  t.equal(lifetimeOf({ 'cdn-cache-control': 'max-age=7', 'cache-control': 'no-store', expires: '0' }), 7)
  t.equal(made({ 'cdn-cache-control': 'no-store', 'cache-control': 'max-age=5' }), 'no-store')
  for (const bad of ['max-age="7"', 'max-age=7.5', 'max-age', 'MAX-AGE=7', 'max-age=7,', '', 'max-age =7']) {
    t.equal(lifetimeOf({ 'cdn-cache-control': bad, 'cache-control': 'max-age=5' }), 5, JSON.stringify(bad))
  }
  t.equal(parseTargeted(undefined), undefined)
})

t.test('Surrogate-Control counts where it is among the targets, before or after CDN-Cache-Control as they are listed', async (t) => {
  const fields = Object.entries({ 'surrogate-control': 'max-age=9, content="ESI/1.0"', 'cache-control': 'no-store' }).flat()
  const lifetime = (targets: readonly string[], more: readonly string[] = []): unknown => {
    const entry = makeEntry({
      key: '', url: '', origin: '', status: 200, reason: '', fields: [...fields, ...more], requestHeaders: {}, requestTime: NOW, responseTime: NOW
    }, { ...policy, targets }, () => 'id')
    return typeof entry === 'string' ? entry : entry.lifetime / 1000
  }
  t.equal(lifetime(['cdn-cache-control']), 'no-store')
  t.equal(lifetime(['cdn-cache-control', 'surrogate-control']), 9)
  t.equal(lifetime(['cdn-cache-control', 'surrogate-control'], ['CDN-Cache-Control', 'max-age=3']), 3)
  t.equal(lifetime(['surrogate-control', 'cdn-cache-control'], ['CDN-Cache-Control', 'max-age=3']), 9)
})

t.test('directives of requests: the strictest reading of what is malformed', async (t) => {
  t.match(parseRequestCacheControl('max-age=x, max-stale=x, min-fresh=x, stale-if-error=x'), { maxAge: 0, maxStale: 0, minFresh: 0, staleIfError: 0 })
  t.match(parseRequestCacheControl('stale-if-error'), { staleIfError: 0 }, 'without a bound it says nothing')
  t.match(parseRequestCacheControl('max-stale, NO-CACHE, only-if-cached'), { maxStale: Number.POSITIVE_INFINITY, noCache: true, onlyIfCached: true })
  t.match(parseRequestCacheControl(undefined), { maxAge: -1, noCache: false })
})

t.test('entity-tags (RFC 9110 8.8.3, 13.1.2)', async (t) => {
  for (const ok of ['"a"', 'W/"a"', '""', '"ü"'.normalize('NFC').replace('ü', '\xfc')]) t.ok(isEtag(ok), ok)
  for (const bad of ['a', '"a', 'w/"a"', 'W"a"', '"a b"', '"a""b"']) t.notOk(isEtag(bad), bad)
  t.same(parseEtags('"a", W/"b" ,"c,d"'), ['"a"', 'W/"b"', '"c,d"'])
  t.equal(parseEtags(' * '), '*')
  for (const bad of ['a', '"a" "b"', '"a", b', '']) t.equal(parseEtags(bad), undefined, bad)
  t.ok(weakMatch('W/"a"', '"a"'))
  t.notOk(strongMatch('W/"a"', 'W/"a"'))
  t.ok(strongMatch('"a"', '"a"'))
})

t.test('ranges (RFC 9110 14)', async (t) => {
  t.same(parseContentRange('bytes 0-4/10'), { start: 0, end: 4, total: 10 })
  for (const bad of ['bytes 4-0/10', 'bytes 0-10/10', 'bytes 0-4/*', 'bytes */10', 'lines 0-4/10', undefined]) t.equal(parseContentRange(bad), undefined)
  fc.assert(fc.property(fc.nat(50), fc.array(fc.tuple(fc.nat(60), fc.option(fc.nat(60)), fc.boolean()), { minLength: 1, maxLength: 5 }), (total, asked) => {
    // Literally: a byte is asked for when one of the ranges names its position.
    const specs = asked.map(([a, b, suffix]) => suffix ? `-${a}` : b === null ? `${a}-` : `${Math.min(a, b)}-${Math.max(a, b)}`)
    const given = new Set<number>()
    for (const { start, end } of resolve(parseRange(`bytes=${specs.join(',')}`)!, total)) for (let i = start; i <= end; i++) given.add(i)
    for (let i = 0; i < total; i++) {
      const wanted = asked.some(([a, b, suffix]) => suffix ? i >= total - a : i >= (b === null ? a : Math.min(a, b)) && (b === null || i <= Math.max(a, b)))
      if (wanted !== given.has(i)) return false
    }
    return [...given].every((i) => i < total)
  }))
})

t.test('nothing that a peer sends makes a parser throw', async () => {
  const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('"', ',', '=', '\\', ' ', ';', 'a', 'max-age', 'W/', '*', '-', '0', '9', 'bytes=') }))
  fc.assert(fc.property(text, text, (a, b) => {
    parseCacheControl(a)
    parseTargeted(a)
    parseRequestCacheControl(a)
    parseEtags(a)
    parseRange(a)
    parseContentRange(a)
    parseAge(a)
    parseHttpDate(a, NOW)
    listOf(a)
    normalise('accept-language', a)
    normalise('accept-encoding', a)
    made({ 'cache-control': a, 'cdn-cache-control': b, expires: a, date: b, age: a, etag: b, 'last-modified': a, vary: b, 'content-range': a, 'no-vary-search': a, 'cache-tag': a, 'cache-groups': b, 'content-language': a })
    made({ 'cache-control': 'max-age=5', vary: a }, { requestHeaders: { [a.toLowerCase()]: b } })
  }), { numRuns: 2000 })
})

t.test('age and freshness equal the sums of the RFC, written out', async () => {
  const second = fc.integer({ min: -1000, max: 1000 })
  fc.assert(fc.property(fc.record({
    date: fc.option(second), age: fc.option(fc.nat(2000)), requestTime: fc.integer({ min: -5000, max: 0 }), now: fc.nat(3_000_000),
    maxAge: fc.option(fc.nat(2000)), sMaxAge: fc.option(fc.nat(2000)), expires: fc.option(second)
  }), ({ date, age, requestTime: before, now: later, maxAge, sMaxAge, expires }) => {
    const fields: Record<string, string> = { etag: '"a"' }
    if (date !== null) fields['date'] = formatHttpDate(NOW + date * 1000)
    if (age !== null) fields['age'] = String(age)
    const directives = [maxAge === null ? '' : `max-age=${maxAge}`, sMaxAge === null ? '' : `s-maxage=${sMaxAge}`].filter((text) => text !== '')
    if (directives.length > 0) fields['cache-control'] = directives.join(', ')
    if (expires !== null) fields['expires'] = formatHttpDate(NOW + expires * 1000)
    // RFC 9111 4.2.3, line by line, in seconds.
    const [request_time, response_time, now] = [(NOW + before) / 1000, NOW / 1000, (NOW + later) / 1000]
    const [age_value, date_value] = [age ?? 0, NOW / 1000 + (date ?? 0)]
    const apparent_age = Math.max(0, response_time - date_value)
    const response_delay = response_time - request_time
    const corrected_age_value = age_value + response_delay
    const corrected_initial_age = Math.max(apparent_age, corrected_age_value)
    const resident_time = now - response_time
    const current_age = corrected_initial_age + resident_time
    // RFC 9111 4.2.1.
    const freshness_lifetime = sMaxAge ?? maxAge ?? (expires === null ? 0 : Math.max(0, NOW / 1000 + expires - date_value))
    const entry = makeEntry({
      key: '', url: '', origin: '', status: 200, reason: '', fields: Object.entries(fields).flat(), requestHeaders: {}, requestTime: NOW + before, responseTime: NOW
    }, policy, () => 'id') as Entry
    const close = (a: number, b: number): boolean => Math.abs(a - b) < 0.001
    return close(initialAge(entry.fields.concat(age === null ? [] : ['age', String(age)]), NOW + before, NOW) / 1000, corrected_initial_age) &&
      close(ageOf(entry, NOW + later) / 1000, current_age) && close(freshFor(entry, NOW + later) / 1000, freshness_lifetime - current_age)
  }), { numRuns: 1000 })
})

t.test('names of entries: two processes that store in the same millisecond give different ones', async (t) => {
  const chance = [0.1, 0.2, 0.1]
  const [a, b, like] = [1, 2, 3].map(() => entryIds(() => chance.shift()!))
  t.not(a!(NOW), b!(NOW))
  t.not(a!(NOW), a!(NOW), 'and one gives no name twice')
  t.match(a!(NOW), /^[0-9a-z]+-[0-9a-z]{8}-4$/, 'fit for names of files')
  t.equal(like!(NOW), entryIds(() => 0.1)(NOW), 'by the chance that is given, and nothing else')
})
