import time
from governance import seed, verify, loop
from governance.schema import open_database
def test_it(postgresql_url):
    with open_database(postgresql_url) as d:
        t=time.time(); seed.fill(d,50000,seed=1,at=seed.start_of_day(time.time())); print('seed',time.time()-t)
        t=time.time()
        with d.write() as c: verify.remember(c); print(verify.check_access(c,time.time()).wrong_users)
        print('check',time.time()-t)
        t=time.time(); print(loop.synchronize_all(d,time.time())/(time.time()-t),'users/s')
        t=time.time()
        with d.write() as c: print(verify.check_access(c,time.time()))
        print('check',time.time()-t)
