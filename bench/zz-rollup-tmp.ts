import pg from 'pg';
import { withCleanup } from './lib/cleanup.ts';
import { openDatabase } from './lib/database.ts';
import { cpuMicros } from './lib/proc.ts';
await withCleanup(async (later) => {
  const db = await openDatabase(later);
  const c = new pg.Client({ connectionString: db.url }); await c.connect(); later(() => c.end());
  const pid = (await c.query('select pg_backend_pid() p')).rows[0].p;
  await c.query('set synchronous_commit=off');
  const run = async (name: string, setup: string, sql: (i: number) => string, n = 4000) => {
    await c.query(setup);
    for (let i = 0; i < 300; i++) await c.query(sql(i));
    const t = cpuMicros(pid); const t0 = performance.now();
    for (let i = 0; i < n; i++) await c.query(sql(i));
    console.log(name, ((cpuMicros(pid) - t) / n).toFixed(1), 'us backend cpu;', ((performance.now() - t0) * 1000 / n).toFixed(1), 'us wall');
  };
  const head = 'create table if not exists h(id int primary key, v bigint) with (fillfactor=10); insert into h values (1,0) on conflict do nothing;';
  const base = (x: string) => `BEGIN; UPDATE h SET v = v+1 WHERE id=1; ${x} COMMIT`;
  const lat = '{' + Array.from({ length: 24 }, (_, i) => i % 5).join(',') + '}';
  const arr = (levels: number, l: string) => (i: number) => base(`INSERT INTO r AS r (span_sec,start_sec,team_id,outcome,denial_reason,records,requests,latency_ms_sum,latency) VALUES ${[60, 3600, 86400].slice(0, levels).map((s) => `(${s},${Math.floor(i / 500) * s},'default','success','',${i % 7 + 1},3,17,'${l}')`).join(',')}
   ON CONFLICT (span_sec,start_sec,team_id,outcome,denial_reason) DO UPDATE SET records=r.records+excluded.records, requests=r.requests+excluded.requests, latency_ms_sum=r.latency_ms_sum+excluded.latency_ms_sum,
   latency = CASE WHEN excluded.latency = '{}' THEN r.latency ELSE ARRAY(SELECT coalesce(a,0)+coalesce(b,0) FROM unnest(r.latency, excluded.latency) AS t(a,b)) END;`);
  const t = `drop table if exists r; create table r(span_sec int, start_sec bigint, team_id text, outcome text, denial_reason text, records bigint, requests bigint, latency_ms_sum bigint, latency bigint[], primary key(span_sec,start_sec,team_id,outcome,denial_reason)) with (fillfactor=50)`;
  await c.query(head);

  const t2 = `drop table if exists q; create table q(span_sec int, start_sec bigint, counter smallint, team_id text, value bigint, primary key(span_sec,counter,start_sec,team_id)) with (fillfactor=50)`;
  await c.query(t); await c.query(t2);
  await c.query(`PREPARE ra (int[], bigint[], text[], text[], text[], bigint[], bigint[], bigint[], text[]) AS INSERT INTO r AS r SELECT a,b,c,d,e,f,g,h,i::bigint[] FROM unnest($1,$2,$3,$4,$5,$6,$7,$8,$9) AS v(a,b,c,d,e,f,g,h,i) 
   ON CONFLICT (span_sec,start_sec,team_id,outcome,denial_reason) DO UPDATE SET records=r.records+excluded.records, requests=r.requests+excluded.requests, latency_ms_sum=r.latency_ms_sum+excluded.latency_ms_sum,
   latency = CASE WHEN excluded.latency = '{}' THEN r.latency ELSE ARRAY(SELECT coalesce(a,0)+coalesce(b,0) FROM unnest(r.latency, excluded.latency) AS t(a,b)) END`);
  await c.query(`PREPARE qa (int[], bigint[], smallint[], text[], bigint[]) AS INSERT INTO q AS q SELECT * FROM unnest($1,$2,$3,$4,$5) ON CONFLICT (span_sec,counter,start_sec,team_id) DO UPDATE SET value=q.value+excluded.value`);
  const rep = (v: string|number, n: number) => `'{${Array.from({length:n},()=>v).join(',')}}'`;
  const spans = [60,3600,86400];
  for (let k = 0; k < 2; k++) {
    await run('base', 'select 1', () => base(''));
    for (const n of [1,2,3]) for (const l of ['{}', lat]) {
      await run(`prepared array x${n} ${l.length}`, 'truncate r', (i) => base(`EXECUTE ra('{${spans.slice(0,n)}}','{${spans.slice(0,n).map((s) => Math.floor(i/500)*s)}}',${rep('default',n)},${rep('success',n)},${rep('""',n)},${rep(3,n)},${rep(3,n)},${rep(17,n)},${rep('"'+l+'"',n)});`));
    }
    for (const [n, m] of [[1,1],[1,6],[2,6],[3,1],[3,6]] as const)
      await run(`prepared rows x${n} ${m}`, 'truncate q', (i) => { const S = spans.slice(0,n).flatMap((s)=>Array.from({length:m},(_,j)=>[s,Math.floor(i/500)*s,j])); return base(`EXECUTE qa('{${S.map(x=>x[0])}}','{${S.map(x=>x[1])}}','{${S.map(x=>x[2])}}',${rep('default',n*m)},${rep(3,n*m)});`); });
  }
  console.log((await c.query("select pg_relation_size('r') r, pg_relation_size('q') q, n_tup_upd, n_tup_hot_upd, relname from pg_stat_user_tables")).rows);
});
