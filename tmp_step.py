import sys; sys.path.insert(0,'benchmarks')
import common, bench_step as bs, torch, time
import torch.nn.functional as F
from mo_interp import transformer as T, organism
from mo_interp.organism import Recipe, Shape
from mo_interp.model import Model
common.one_thread()
spec=organism.load("quirky_user")
words = {"d_vocab": spec.shape.d_vocab, "d_vocab_out": spec.shape.d_vocab_out}
wide = Shape(n_layers=3, d_model=128, d_head=32, d_mlp=512, n_ctx=24, **words)
old=(T.Norm.forward,T.Attention.project,T.Attention.forward,T.MLP.forward)
def norm(self,x):
    if self.kind is None: return x
    w=(self.w,self.b) if self.kind=="LN" else (None,None)
    return self.hook_normalized(F.layer_norm(x,x.shape[-1:],*w,T.LN_EPS))
def project(self,x,name):
    W,b=getattr(self,f"W_{name}"),getattr(self,f"b_{name}")
    flat=W.permute(1,0,2).reshape(W.shape[1],-1)
    return torch.addmm(b.flatten(),x.flatten(0,1),flat).view(*x.shape[:2],*b.shape)
def fwd(self,x,*,answer_only,explicit):
    H,d,dh=self.W_Q.shape
    def flat(names):
        W=torch.cat([getattr(self,f"W_{n}") for n in names]); b=torch.cat([getattr(self,f"b_{n}") for n in names])
        return W.permute(1,0,2).reshape(d,-1), b.flatten()
    if answer_only:
        W,b=flat("KV"); kv=torch.addmm(b,x.flatten(0,1),W).view(*x.shape[:2],2,H,dh); k,v=kv.unbind(2)
        q=self.project(x[:,-1:],"Q")
    else:
        W,b=flat("QKV"); q,k,v=torch.addmm(b,x.flatten(0,1),W).view(*x.shape[:2],3,H,dh).unbind(2)
    q,k,v=self.hook_q(q),self.hook_k(k),self.hook_v(v)
    mix=self.explicit if explicit else self.fused
    return self.combine(self.hook_z(mix(q,k,v)))
def mlp(self,x):
    s=x.shape; x=x.flatten(0,1)
    pre=self.hook_pre(torch.addmm(self.b_in,x,self.W_in).view(*s[:2],-1))
    post=self.hook_post(self.act(pre))
    return torch.addmm(self.b_out,post.flatten(0,1),self.W_out).view(s)
def tail(self,x):  # absorbed
    H,d,dh=self.W_Q.shape
    q=torch.baddbmm(self.b_Q[:,None],x[:,-1].expand(H,-1,-1),self.W_Q)
    w=torch.bmm(q,self.W_K.transpose(1,2)).transpose(0,1)/dh**.5
    p=torch.bmm(w,x.transpose(1,2)).softmax(-1)
    m=torch.bmm(p,x)
    z=torch.baddbmm(self.b_V[:,None],m.transpose(0,1),self.W_V).transpose(0,1)
    return self.combine(z[:,None])
def fwd2(self,x,*,answer_only,explicit):
    if answer_only and not explicit: return tail(self,x)
    return fwd(self,x,answer_only=answer_only,explicit=explicit)
def setv(n,p,f,m): T.Norm.forward,T.Attention.project,T.Attention.forward,T.MLP.forward=n,p,f,m
V={"old":old,"norm":(norm,*old[1:]),"norm+proj":(norm,project,*old[2:]),"norm+proj+fused":(norm,project,fwd,old[3]),"+mlp":(norm,project,fwd,mlp),"+absorbed":(norm,project,fwd2,mlp)}
for shape in (spec.shape,wide):
    m=Model.build(shape,0); peer=common.hooked(m).train(); body=m.body
    rows=bs.rows_of(spec,shape,128,bs.STEPS)
    st=dict(lr=1e-3,weight_decay=.01,fused=True)
    pa=torch.optim.AdamW(peer.parameters(),**st); ba=torch.optim.AdamW(body.parameters(),**st)
    R=Recipe()
    tm={k:[] for k in ["peer",*V]}
    for turn in range(6):
        t=time.process_time(); [bs.peer_step(peer,pa,rows,i) for i in range(8)]; tm["peer"].append(time.process_time()-t)
        for k,v in V.items():
            setv(*v)
            t=time.process_time(); [bs.our_step(body,ba,rows,i,R) for i in range(8)]; tm[k].append(time.process_time()-t)
    import statistics as s
    p=s.median(tm["peer"][1:])
    print(shape.n_layers,shape.d_model,{k:(round(s.median(x[1:])/p,3),round(min(x)/min(tm["peer"]),3)) for k,x in tm.items()},p/8*1e3)
print("micro")
def micro(body,adam,rows,step,k):
    tokens,wanted,_=(c[step%len(c)] for c in rows)
    adam.zero_grad(set_to_none=True)
    for t,w in zip(tokens.chunk(k),wanted.chunk(k)):
        (F.cross_entropy(body(t,answer_only=True)[:,-1],w)/k).backward()
    adam.step()
for shape in (spec.shape,wide):
    m=Model.build(shape,0); peer=common.hooked(m).train(); body=m.body
    rows=bs.rows_of(spec,shape,128,bs.STEPS)
    pa=torch.optim.AdamW(peer.parameters(),**st); ba=torch.optim.AdamW(body.parameters(),**st)
    K=["old",1,2,4,8]
    tm={k:[] for k in ["peer",*K]}
    for turn in range(7):
        t=time.process_time(); [bs.peer_step(peer,pa,rows,i) for i in range(6)]; tm["peer"].append(time.process_time()-t)
        for k in K:
            setv(*(old if k=="old" else V["norm+proj+fused"]))
            t=time.process_time(); [micro(body,ba,rows,i,1 if k=="old" else k) for i in range(6)]; tm[k].append(time.process_time()-t)
    p=s.median(tm["peer"][1:])
    print(shape.n_layers,shape.d_model,{k:(round(s.median(x[1:])/p,3),round(min(x)/min(tm["peer"]),3)) for k,x in tm.items()},p/6*1e3)
