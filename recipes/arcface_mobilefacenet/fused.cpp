// Batch norm and PReLU in one pass each way, for bfloat16 pictures in channels_last on CPUs.
#include <torch/extension.h>
#include <ATen/Parallel.h>
#include <vector>
using at::BFloat16;
static inline float f(uint16_t v) { uint32_t u = uint32_t(v) << 16; float r; __builtin_memcpy(&r, &u, 4); return r; }
static inline uint16_t b(float v) { uint32_t u; __builtin_memcpy(&u, &v, 4); u += 0x7fff + ((u >> 16) & 1); return uint16_t(u >> 16); }

static std::vector<float> reduce(const std::vector<std::vector<float>>& parts, int64_t n) {
  std::vector<float> sum(n, 0.f);
  for (auto& p : parts) if (!p.empty()) for (int64_t i = 0; i < n; i++) sum[i] += p[i];
  return sum;
}

std::vector<at::Tensor> forward(at::Tensor x, at::Tensor gamma, at::Tensor beta, at::Tensor slope, double eps) {
  int64_t N = x.size(0), C = x.size(1), M = N * x.size(2) * x.size(3);
  auto y = at::empty_like(x);
  const uint16_t* X = (const uint16_t*)x.data_ptr(); uint16_t* Y = (uint16_t*)y.data_ptr();
  int T = at::get_num_threads();
  std::vector<std::vector<float>> parts(T);
  at::parallel_for(0, M, (M + T - 1) / T, [&](int64_t lo, int64_t hi) {
    std::vector<float> s(2 * C, 0.f), block(2 * C);
    for (int64_t m0 = lo; m0 < hi; m0 += 512) {  // blocks keep the sums of squares exact enough
      std::fill(block.begin(), block.end(), 0.f);
      float* __restrict a = block.data(); float* __restrict q = a + C;
      for (int64_t m = m0; m < std::min(hi, m0 + 512); m++) {
        const uint16_t* __restrict r = X + m * C;
        _Pragma("omp simd")
        for (int64_t c = 0; c < C; c++) { float v = f(r[c]); a[c] += v; q[c] += v * v; }
      }
      for (int64_t i = 0; i < 2 * C; i++) s[i] += block[i];
    }
    parts[at::get_thread_num()] = s;
  });
  auto sums = reduce(parts, 2 * C);
  auto mean = at::empty({C}, gamma.options()), var = at::empty({C}, gamma.options());
  float *mu = mean.data_ptr<float>(), *va = var.data_ptr<float>();
  std::vector<float> k(C), o(C);
  const float *g = gamma.data_ptr<float>(), *be = beta.data_ptr<float>(), *sl = slope.data_ptr<float>();
  for (int64_t c = 0; c < C; c++) {
    mu[c] = sums[c] / M; va[c] = std::max(sums[C + c] / M - mu[c] * mu[c], 0.f);
    k[c] = g[c] / std::sqrt(va[c] + (float)eps); o[c] = be[c] - mu[c] * k[c];
  }
  at::parallel_for(0, M, (M + T - 1) / T, [&](int64_t lo, int64_t hi) {
    const float* __restrict K = k.data(); const float* __restrict O = o.data(); const float* __restrict S = sl;
    for (int64_t m = lo; m < hi; m++) {
      const uint16_t* __restrict r = X + m * C; uint16_t* __restrict w = Y + m * C;
      _Pragma("omp simd")
      for (int64_t c = 0; c < C; c++) { float z = f(r[c]) * K[c] + O[c]; w[c] = b(z > 0 ? z : z * S[c]); }
    }
  });
  return {y, mean, var};
}

std::vector<at::Tensor> backward(at::Tensor dy, at::Tensor x, at::Tensor gamma, at::Tensor beta, at::Tensor slope,
                                 at::Tensor mean, at::Tensor var, double eps) {
  int64_t N = x.size(0), C = x.size(1), M = N * x.size(2) * x.size(3);
  auto dx = at::empty_like(x);
  const uint16_t *X = (const uint16_t*)x.data_ptr(), *D = (const uint16_t*)dy.data_ptr(); uint16_t* W = (uint16_t*)dx.data_ptr();
  int T = at::get_num_threads();
  const float *gp = gamma.data_ptr<float>(), *bp = beta.data_ptr<float>(), *sp = slope.data_ptr<float>(), *mu = mean.data_ptr<float>(), *va = var.data_ptr<float>();
  std::vector<float> is(C), mi(C);
  for (int64_t c = 0; c < C; c++) { is[c] = 1.f / std::sqrt(va[c] + (float)eps); mi[c] = -mu[c] * is[c]; }
  std::vector<std::vector<float>> parts(T);
  at::parallel_for(0, M, (M + T - 1) / T, [&](int64_t lo, int64_t hi) {
    std::vector<float> s(3 * C, 0.f), block(3 * C);
    const float* __restrict I = is.data(); const float* __restrict A = mi.data();
    const float* __restrict g = gp; const float* __restrict be = bp; const float* __restrict S = sp;
    for (int64_t m0 = lo; m0 < hi; m0 += 512) {
      std::fill(block.begin(), block.end(), 0.f);
      float* __restrict p = block.data(); float* __restrict q = p + C; float* __restrict u = q + C;
      for (int64_t m = m0; m < std::min(hi, m0 + 512); m++) {
        const uint16_t* __restrict r = X + m * C; const uint16_t* __restrict e = D + m * C;
        _Pragma("omp simd")
        for (int64_t c = 0; c < C; c++) {
          float h = f(r[c]) * I[c] + A[c], d = f(e[c]), z = h * g[c] + be[c];
          float dz = z > 0 ? d : d * S[c];
          p[c] += dz; q[c] += dz * h; u[c] += z > 0 ? 0.f : d * z;
        }
      }
      for (int64_t i = 0; i < 3 * C; i++) s[i] += block[i];
    }
    parts[at::get_thread_num()] = s;
  });
  auto sums = reduce(parts, 3 * C);
  std::vector<float> k(C), cb(C), cg(C);
  for (int64_t c = 0; c < C; c++) { k[c] = gp[c] * is[c]; cb[c] = sums[c] / M; cg[c] = sums[C + c] / M; }
  at::parallel_for(0, M, (M + T - 1) / T, [&](int64_t lo, int64_t hi) {
    const float* __restrict I = is.data(); const float* __restrict A = mi.data();
    const float* __restrict K = k.data(); const float* __restrict B = cb.data(); const float* __restrict G = cg.data();
    const float* __restrict g = gp; const float* __restrict be = bp; const float* __restrict S = sp;
    for (int64_t m = lo; m < hi; m++) {
      const uint16_t* __restrict r = X + m * C; const uint16_t* __restrict e = D + m * C; uint16_t* __restrict w = W + m * C;
      _Pragma("omp simd")
      for (int64_t c = 0; c < C; c++) {
        float h = f(r[c]) * I[c] + A[c], d = f(e[c]), z = h * g[c] + be[c];
        float dz = z > 0 ? d : d * S[c];
        w[c] = b(K[c] * (dz - B[c] - h * G[c]));
      }
    }
  });
  auto o = gamma.options();
  auto pick = [&](int64_t i) { return at::from_blob(sums.data() + i * C, {C}, o).clone(); };
  return {dx, pick(1), pick(0), pick(2)};
}
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("forward", &forward); m.def("backward", &backward); }
