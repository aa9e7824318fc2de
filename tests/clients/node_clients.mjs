// Google's Node clients over gRPC. Arguments: host:port of a queue server's gRPC side, and the URL of a target.
// Prints a line for each check; the first that fails ends it with status 1.

import assert from 'node:assert/strict';
import {CloudSchedulerClient} from '@google-cloud/scheduler';
import {CloudTasksClient} from '@google-cloud/tasks';
import gax from 'google-gax';

const {grpc} = gax;
const [grpcAddress, target] = process.argv.slice(2);
const [apiEndpoint, port] = grpcAddress.split(':');
const options = {apiEndpoint, port: Number(port), sslCreds: grpc.credentials.createInsecure(), projectId: 'demo'};
const tasks = new CloudTasksClient(options);
const scheduler = new CloudSchedulerClient(options);
const location = 'projects/demo/locations/us-central1';
const queue = tasks.queuePath('demo', 'us-central1', 'node');

async function check(name, body) {
  await body();
  console.log(`ok ${name}`);
}

await check('a queue is created, changed, listed', async () => {
  const [created] = await tasks.createQueue({parent: location, queue: {name: queue}});
  assert.equal(created.state, 'RUNNING');
  assert.equal(created.rateLimits.maxDispatchesPerSecond, 500);
  const [changed] = await tasks.updateQueue({
    queue: {name: queue, rateLimits: {maxDispatchesPerSecond: 50}},
    updateMask: {paths: ['rate_limits.max_dispatches_per_second']},
  });
  assert.equal(changed.rateLimits.maxDispatchesPerSecond, 50);
  const [queues] = await tasks.listQueues({parent: location});
  assert.ok(queues.some(found => found.name === queue));
});

await check('a paused queue keeps its tasks, page by page', async () => {
  assert.equal((await tasks.pauseQueue({name: queue}))[0].state, 'PAUSED');
  const httpRequest = {url: target, httpMethod: 'POST', body: Buffer.from('hello'), headers: {'X-A': 'b'}};
  for (const id of ['one', 'two', 'three']) {
    const [task] = await tasks.createTask({parent: queue, task: {name: `${queue}/tasks/${id}`, httpRequest}});
    assert.equal(task.httpRequest.headers['X-A'], 'b');
  }
  const names = [];
  for await (const task of tasks.listTasksAsync({parent: queue, pageSize: 2})) names.push(task.name);
  assert.equal(names.length, 3);
  const [full] = await tasks.getTask({name: `${queue}/tasks/one`, responseView: 'FULL'});
  assert.equal(full.httpRequest.body.toString(), 'hello');
});

await check('refusals carry their code and text', async () => {
  const again = {parent: queue, task: {name: `${queue}/tasks/one`, httpRequest: {url: target}}};
  await assert.rejects(tasks.createTask(again), {code: grpc.status.ALREADY_EXISTS});
  const bad = {parent: queue, task: {name: `${queue}/tasks/a.b`, httpRequest: {url: target}}};
  await assert.rejects(tasks.createTask(bad), {code: grpc.status.INVALID_ARGUMENT, details: /can contain only letters/});
  await assert.rejects(tasks.getQueue({name: `${queue}-none`}), {code: grpc.status.NOT_FOUND});
});

await check('a task that is run is pushed and gone', async () => {
  await tasks.runTask({name: `${queue}/tasks/two`});
  await tasks.deleteTask({name: `${queue}/tasks/three`});
  await tasks.resumeQueue({name: queue});
});

await check('a policy is kept', async () => {
  const bindings = [{role: 'roles/cloudtasks.viewer', members: ['user:a@b.c']}];
  await tasks.setIamPolicy({resource: queue, policy: {bindings}});
  const [policy] = await tasks.getIamPolicy({resource: queue});
  assert.deepEqual(policy.bindings[0].members, ['user:a@b.c']);
});

await check('a job is created, paused, changed, run, deleted', async () => {
  const name = scheduler.jobPath('demo', 'us-central1', 'node');
  const [job] = await scheduler.createJob({
    parent: location,
    job: {name, schedule: '0 9 * * 1', timeZone: 'Europe/Zurich', httpTarget: {uri: target, httpMethod: 'GET'}},
  });
  assert.equal(job.state, 'ENABLED');
  assert.ok(Number(job.scheduleTime.seconds) > Date.now() / 1000);
  assert.equal((await scheduler.pauseJob({name}))[0].state, 'PAUSED');
  assert.equal((await scheduler.resumeJob({name}))[0].state, 'ENABLED');
  const [changed] = await scheduler.updateJob({
    job: {name, description: 'weekly'},
    updateMask: {paths: ['description']},
  });
  assert.equal(changed.description, 'weekly');
  assert.equal(changed.schedule, '0 9 * * 1');
  await scheduler.runJob({name});
  const [jobs] = await scheduler.listJobs({parent: location});
  assert.deepEqual(jobs.map(found => found.name), [name]);
  await scheduler.deleteJob({name});
  await assert.rejects(scheduler.getJob({name}), {code: grpc.status.NOT_FOUND});
});

await Promise.all([tasks.close(), scheduler.close()]);
